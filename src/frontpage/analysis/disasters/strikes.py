"""A run, a sweep and a cache build that are struck at a call that changes the disk, and what was lost by it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from frontpage.analysis.disasters.records import events, rows
from frontpage.command.config_folder import ROOT
from frontpage.command.override_words import literal
from frontpage.runs.run import Run
from frontpage.sweeps.storage import open_storage

SMALL = (
    "data=synthetic data.num_titles=120 data.block_size=32 data.batch_size=8 tokenizer.vocab_size=300"
    " model.d_model=32 model.n_layer=1 model.n_head=2 model.dropout=0.1 trainer.accelerator=cpu"
    " trainer.precision=32-true trainer.max_epochs=1 callbacks.sample_titles.num=1"
    " callbacks.sample_titles.max_tokens=8 log_interval=1"
).split()
RUN = [*SMALL, "val_interval=5", "save_interval=3", "callbacks.best_checkpoint.save_top_k=2", "ckpt_path=last"]
SWEEP = [*SMALL, "--multirun", "hydra/sweeper=optuna", "hydra.sweeper.study_name=s", "hydra.sweeper.n_trials=2"]
SWEEP += ["hydra/sweeper/sampler=grid", "optimizer.lr=choice(1e-3,1e-2)", "trainer.max_steps=4"]
CACHE = [*SMALL, "trainer.max_steps=1"]
ROOM = 17  # MiB that a filler leaves: a checkpoint wants 16 besides itself
LONGEST, HANGS = 300, 124  # seconds for one command, and the status of one that takes longer


class Target(NamedTuple):
    """What is attacked: its command in a folder, and what of its result must be as in an undisturbed one."""

    command: Callable[[Path], list[str]]
    result: Callable[[Path], dict[str, object]]


class Attack(NamedTuple):
    """One attack and what came of it."""

    target: str
    kind: str
    moment: int
    status: int
    struck: bool
    lost: list[str]


def undisturbed(name: str, folder: Path) -> tuple[dict[str, object], int]:
    """(what an undisturbed command of the target `name` leaves, how many calls change the disk)."""
    ended, calls = command(name, folder, ["count", "0"])
    if ended != 0:
        raise RuntimeError(f"{name}: the undisturbed command ended with status {ended}")
    return TARGETS[name].result(folder), calls


def attack(name: str, kind: str, moment: int, folder: Path, expected: dict[str, object]) -> Attack:
    """Disturb a command once, let the same command go on, and compare."""
    if kind == "filler":
        filler = folder.parent / "filler"
        room = shutil.disk_usage(folder.parent).free - (ROOM * 2**20 if name == "run" else moment * 4096)
        filler.write_bytes(bytes(max(room, 0)))
        status, _ = command(name, folder, ["count", "0"])
        filler.unlink()
    else:
        status, _ = command(name, folder, [kind, str(moment)])
    struck = status != 0 or "chaos: no room" in words_of(folder) or "the disk is full" in words_of(folder)
    lost: list[str] = []
    status_again, _ = command(name, folder, ["count", "0"])
    if status_again != 0:
        lost.append(f"the same command ended with status {status_again}: {words_of(folder)[-200:]}")
    else:
        found = TARGETS[name].result(folder)
        lost += [part for part in expected if found.get(part) != expected[part]]
        lost += [f"left: {path.name}" for path in folder.rglob("*.partial") if not _of_a_dead_run(path)]
    if not lost:
        shutil.rmtree(folder)
        folder.with_suffix(".log").unlink()
    return Attack(name, kind, moment, status, struck, lost)


def _of_a_dead_run(path: Path) -> bool:
    """Whether a file lies in the directory of a run that was killed, which nothing has continued."""
    runs = (Run(folder) for folder in (path.parent, path.parent.parent))
    return any(one.lock_file.exists() and (one.record or {}).get("status") in (None, "running") for one in runs)


def command(name: str, folder: Path, disaster: list[str]) -> tuple[int, int]:
    """(status, counted calls) of a target's command under a disaster."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-m", "frontpage.machine.chaos", *disaster, "train.py", *TARGETS[name].command(folder)]
    log = Path(tempfile.gettempdir(), f"frontpage_chaos_{os.getpid()}.log")  # not on the disk that fills
    with log.open("w") as file:
        settings = {"cwd": ROOT, "stdout": file, "stderr": file, "env": environment, "timeout": LONGEST}
        try:
            status = subprocess.run(words, **settings).returncode
        except subprocess.TimeoutExpired:  # a command that hangs is lost as well, and the attacks behind it are not
            status = HANGS
    text = log.read_text(errors="replace")
    log.unlink()
    try:
        folder.with_suffix(".log").write_text(text)
    except OSError:  # the disk is full, as it should be
        pass
    calls = [line for line in text.splitlines() if line.startswith("chaos calls: ")]
    return status, int(calls[-1].split()[-1]) if calls else 0


def words_of(folder: Path) -> str:
    """What the newest command said."""
    log = folder.with_suffix(".log")
    return log.read_text().rpartition("chaos calls:")[0] or log.read_text() if log.exists() else ""


def run_result(folder: Path) -> dict[str, object]:
    """What a run has left, without what a clock measures."""
    run = Run(folder / "run")
    found: dict[str, object] = {"status": (run.record or {}).get("status")}
    for path in sorted(run.checkpoints.glob("*.ckpt")):
        if path.name == "last-1.ckpt":  # of where it was continued
            continue
        content = torch.load(path, weights_only=True)
        found[path.name] = content["global_step"], *(weight.sum().item() for weight in content["state_dict"].values())
    found |= {
        "metrics.csv": rows(run.metrics_file),
        "events.jsonl": events(run.events_file),
    }
    return found | {"samples.txt": run.samples_file.read_text()}


def sweep_result(folder: Path) -> dict[str, object]:
    """The values of a study's complete trials, by their parameters."""
    import optuna  # a second, for this target alone

    study = optuna.load_study(study_name="s", storage=open_storage(str(folder / "sweeps" / "s" / "study.journal")))
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    return {"trials": sorted((str(trial.params), trial.values) for trial in complete)}


def cache_result(folder: Path) -> dict[str, object]:
    """The files of the token cache, by their bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("cache/*/*") if path.is_file()}


def _in(folder: Path, settings: list[str], *places: str) -> list[str]:
    return [*settings, f"paths.cache_dir={folder}/cache", f"paths.log_dir={folder}", *places]


TARGETS = {
    "run": Target(lambda folder: _in(folder, RUN, f"hydra.run.dir={literal(str(folder / 'run'))}"), run_result),
    "sweep": Target(lambda folder: _in(folder, SWEEP), sweep_result),
    "cache": Target(lambda folder: _in(folder, CACHE), cache_result),
}
