"""Short runs of every experiment, search and debug option, each in its own process, and what is wrong with them."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from omegaconf import OmegaConf

from frontpage.command.config_folder import CONFIGS, ROOT
from frontpage.command.override_words import literal
from frontpage.data.parallel.synthetic_text import synthetic_parallel

SEARCHES = sorted(path.stem for path in Path(CONFIGS, "hparams_search").glob("*.yaml"))
ALL = (path.stem for path in Path(CONFIGS, "experiment").glob("*.yaml"))
# Promoted ones (scripts/promote.py) have run whole, and the sizes of debug=fast need not fit them.
EXPERIMENTS = sorted(name for name in ALL if not name.endswith("_best") or name == "peer_best")
DEBUGS = sorted(path.stem for path in Path(CONFIGS, "debug").glob("*.yaml"))
# Those of parallel text keep their corpus; one that reads files gets a few lines.
GUIDE = ("grokking_research", "guide_debug", "large_limited_vram", "max_performance", "multitask", "production")
FILES = ("bible", *GUIDE)
LINES = "lines.tsv"
PLACES = {"log": "logs", "cache": "cache"}  # paths.*_dir
DEBUG_OF = dict.fromkeys((*FILES, "multitask_debug", "quick_prototype"), "fast_parallel")
# Batches that the small corpus fills, and widths for two cores, where a search varies them.
SMALLER = {"data.batch_size": "choice(4,8)", "model.d_model": "choice(64,128)"}
# Starting Python takes longer than two steps, on one core: as many processes as cores, one thread each.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}


class Result(NamedTuple):
    """What came of one run."""

    name: str
    seconds: float
    loss: float | None
    problem: str | None
    output: str


def smoke_all(folder: Path, experiments: Sequence[str], jobs: int) -> Iterator[Result]:
    """Run `experiments`, or where none is named all of them, every debug option and every search, `jobs` at a time."""
    _write_lines(folder / LINES)  # once: the runs read it while others begin
    tasks = [(smoke, name, DEBUG_OF.get(name, "fast")) for name in experiments or EXPERIMENTS]
    if not experiments:
        tasks += [(smoke, "quickstart", debug) for debug in DEBUGS if not debug.startswith("fast")]
        tasks += [(smoke_search, search) for search in SEARCHES]
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        yield from pool.map(lambda task: task[0](folder, *task[1:]), tasks)


def smoke(folder: Path, experiment: str, debug: str) -> Result:
    """Train `experiment` under `debug` in a process of its own and look at its record."""
    fast = debug.startswith("fast")
    name = experiment if fast else f"{experiment} debug={debug}"
    directory = folder / f"{experiment}_{debug}"
    more = [f"data.root={literal(str(folder / LINES))}", "data.translations=null", "tasks=without_links"]
    more = more if experiment in FILES else []
    place = f"hydra.run.dir={literal(str(directory))}"
    ended, seconds = train(folder, f"experiment={experiment}", f"debug={debug}", place, *more)
    problem, loss = look(directory / "run.json", ended.returncode, steps=2 if fast else None)
    return Result(name, seconds, loss, problem, ended.stdout)


def _write_lines(path: Path) -> None:
    """A file of aligned lines, in three languages."""
    columns = synthetic_parallel(books=8, chapters=3, verses=5, translations=3, seed=1).texts
    lines = ["\t".join(columns), *("\t".join(line) for line in zip(*columns.values(), strict=True))]
    with path.open("w", encoding="utf-8") as file:
        file.write("\n".join(lines))


def smoke_search(folder: Path, search: str) -> Result:
    """Run two trials of `search` under debug=fast in a process of its own and look at their records."""
    name, directory = f"hparams_search={search}", folder / f"search_{search}"
    varied = OmegaConf.load(Path(CONFIGS, "hparams_search", f"{search}.yaml")).hydra.sweeper.params
    sweep = [f"hydra.sweeper.directory={literal(str(directory))}", "hydra.sweeper.n_trials=2"]
    sweep += [f"{key}={smaller}" for key, smaller in SMALLER.items() if key in varied]
    ended, seconds = train(folder, "--multirun", f"hparams_search={search}", "debug=fast", *sweep)
    looked = [look(directory / trial / "run.json", ended.returncode, steps=2) for trial in ("0", "1")]
    problem = next((problem for problem, _ in looked if problem), None)
    return Result(name, seconds, min((loss for _, loss in looked if loss), default=None), problem, ended.stdout)


def train(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess, float]:
    """How a process of train.py ended, and its seconds."""
    command = [sys.executable, "train.py", *arguments]
    command += [f"paths.{name}_dir={literal(str(folder / place))}" for name, place in PLACES.items()]
    start = time.perf_counter()
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return ended, time.perf_counter() - start


def look(path: Path, status: int, steps: int | None) -> tuple[str | None, float | None]:
    """(what is wrong with a run or None, its validation loss); `steps` null: those that its own config asks for."""
    if status != 0:
        return f"exit status {status}", None
    if not path.is_file():
        return "no run.json", None
    record = json.loads(path.read_text(encoding="utf-8"))
    final = record["metrics"]["final"]
    loss, steps = final.get("val/loss"), steps or record["config"]["trainer"]["max_steps"]
    if record["status"] != "finished":
        return f"status {record['status']}", loss
    if record["steps"] != steps:
        return f"{record['steps']} steps, not {steps}", loss
    if final.get("val/coverage") != 1:
        return f"val/coverage {final.get('val/coverage')}, not 1", loss
    if loss is None or not math.isfinite(loss):
        return f"val/loss {loss}", None
    return None, loss
