"""Attack a run, a sweep and a cache build with kills and full disks, continue each, and count what was lost.

python scripts/chaos.py                          30 attacks: some minutes of a core
python scripts/chaos.py --attacks 200 --seed 7   the long one, at other moments
python scripts/chaos.py --only run               run, sweep or cache alone
python scripts/chaos.py --disk /mnt/small        on a file system of your own, best a small one

An attack is a command that is killed (SIGKILL) before a random one of its calls that change the disk, or for which
some of these calls in a row find no room. Then the same command goes on, undisturbed, and its result is compared with
that of one that nothing disturbed: the weights to the bit, run.json, the steps of metrics.csv and events.jsonl, the
trials of the study, the files of the cache. For root on Linux all of it lies on a tmpfs that a filler makes full now
and then; else that part is left out, and said. Exits with 1 where something was lost. Needs no network.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from frontpage.runs.directory import read_record
from frontpage.runs.run_arguments import Arguments, number, path_for, save_json

ROOT = Path(__file__).resolve().parents[1]
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
SIZE, ROOM = 96, 17  # MiB of the tmpfs, and what a filler leaves: a checkpoint wants 16 besides itself
LONGEST, HANGS = 300, 124  # seconds for one command, and the status of one that takes longer
MEASURED = ("time/", "memory/", "elapsed_time", "timestamp")


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


def main() -> None:
    """Attack, compare, report; status 1 where something was lost."""
    parser = Arguments("Attack a run, a sweep and a cache build, and count what was lost.")
    parser.add_argument("--attacks", type=number(int, 1), default=30, help="how many (default 30)")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of kinds and moments (default 0)")
    parser.add_argument("--only", choices=sorted(TARGETS), help="one target (default: in turn)")
    parser.add_argument(
        "--disk", type=path_for("--disk"), help="a folder to work in (default: a small tmpfs for root, or /tmp)"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))  # so that the small disk is unmounted
    chosen, names = random.Random(arguments.seed), [arguments.only] if arguments.only else sorted(TARGETS)
    done: list[Attack] = []
    with small_disk(arguments.disk) as (disk, is_small):
        whole = {}
        for name in names:
            ended, calls = command(name, disk / f"whole_{name}", ["count", "0"])
            if ended != 0:
                raise RuntimeError(f"{name}: the undisturbed command ended with status {ended}")
            whole[name] = (TARGETS[name].result(disk / f"whole_{name}"), calls)
            print(f"{name}: {calls} calls that change the disk", flush=True)
        kinds = ["kill", "kill", "full"] + (["filler"] if is_small else [])
        for index in range(arguments.attacks):
            name, kind = names[index % len(names)], chosen.choice(kinds)
            done.append(attack(name, kind, chosen.randint(1, whole[name][1]), disk / f"{name}_{index}", whole[name][0]))
            print(told(index + 1, done[-1]), flush=True)
    lost = [one for one in done if one.lost]
    save_json(arguments.json, {"seed": arguments.seed, "attacks": [one._asdict() for one in done]})
    print(f"{len(done)} attacks, {sum(one.struck for one in done)} struck, {len(done) - len(lost)} survived")
    for one in lost:
        print(f"LOST: {one.target}, {one.kind} at call {one.moment}: {'; '.join(one.lost)}")
    sys.exit(1 if lost else 0)


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
        lost += [f"left: {path.name}" for path in folder.rglob("*.partial")]
    if not lost:
        shutil.rmtree(folder)
        folder.with_suffix(".log").unlink()
    return Attack(name, kind, moment, status, struck, lost)


def command(name: str, folder: Path, disaster: list[str]) -> tuple[int, int]:
    """(status, counted calls) of a target's command under a disaster."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-m", "frontpage.machine.chaos", *disaster, "train.py", *TARGETS[name].command(folder)]
    log = Path(tempfile.gettempdir(), f"frontpage_chaos_{os.getpid()}.log")  # not on the disk that fills
    with log.open("w") as file:
        try:
            status = subprocess.run(
                words, cwd=ROOT, stdout=file, stderr=file, env=environment, timeout=LONGEST
            ).returncode
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


def told(index: int, one: Attack) -> str:
    """One attack as a line."""
    outcome = "LOST " + "; ".join(one.lost) if one.lost else "survived" if one.struck else "not struck"
    return f"{index:4d} {one.target:5s} {one.kind:6s} at call {one.moment:4d}, status {one.status:4d}: {outcome}"


def run_result(folder: Path) -> dict[str, object]:
    """What a run has left, without what a clock measures."""
    found: dict[str, object] = {"status": (read_record(folder / "run") or {}).get("status")}
    for path in sorted((folder / "run" / "checkpoints").glob("*.ckpt")):
        if path.name == "last-1.ckpt":  # of where it was continued
            continue
        content = torch.load(path, weights_only=True)
        found[path.name] = content["global_step"], *(weight.sum().item() for weight in content["state_dict"].values())
    with (folder / "run" / "metrics.csv").open(newline="") as file:
        rows = [timeless(row) for row in csv.DictReader(file)]
    events = [json.loads(line) for line in (folder / "run" / "events.jsonl").read_text().splitlines()]
    found |= {"metrics.csv": rows, "events.jsonl": [timeless(event) for event in events if "step" in event]}
    return found | {"samples.txt": (folder / "run" / "samples.txt").read_text()}


def sweep_result(folder: Path) -> dict[str, object]:
    """The values of a study's complete trials, by their parameters."""
    import optuna

    from frontpage.sweeps.storage import open_storage

    study = optuna.load_study(study_name="s", storage=open_storage(str(folder / "sweeps" / "s" / "study.journal")))
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    return {"trials": sorted((str(trial.params), trial.values) for trial in complete)}


def cache_result(folder: Path) -> dict[str, object]:
    """The files of the token cache, by their bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("cache/*/*") if path.is_file()}


def timeless(row: dict) -> dict:
    """A row without what no two runs have in common."""
    return {name: value for name, value in row.items() if not name.startswith(MEASURED)}


@contextmanager
def small_disk(given: Path | None) -> Iterator[tuple[Path, bool]]:
    """A folder to work in, and whether it is a small file system that may be filled."""
    if given is not None:
        with tempfile.TemporaryDirectory(prefix="chaos_", dir=given) as folder:
            yield Path(folder), False
        return
    with tempfile.TemporaryDirectory(prefix="frontpage_chaos_") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", folder]
        mounted = sys.platform == "linux" and os.geteuid() == 0
        mounted = mounted and subprocess.run(mount, capture_output=True).returncode == 0
        if not mounted:
            print("no small file system can be mounted here (root on Linux can): a disk that fills is only pretended")
        try:
            yield Path(folder), mounted
        finally:
            if mounted:
                subprocess.run(["umount", folder], check=True)


def _in(folder: Path, settings: list[str], *places: str) -> list[str]:
    return [*settings, f"paths.cache_dir={folder}/cache", f"paths.log_dir={folder}", *places]


TARGETS = {
    "run": Target(lambda folder: _in(folder, RUN, f"hydra.run.dir={folder}/run"), run_result),
    "sweep": Target(lambda folder: _in(folder, SWEEP), sweep_result),
    "cache": Target(lambda folder: _in(folder, CACHE), cache_result),
}

if __name__ == "__main__":
    program(main)
