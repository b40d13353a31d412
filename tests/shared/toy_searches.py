"""Searches of toy objectives: in this process without Hydra (milliseconds a trial), or as a program of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from tiny import CONFIGS, ROOT

import frontpage.command.program
from frontpage.sweeps.loop import Sweep
from frontpage.sweeps.settings import Settings
from frontpage.sweeps.storage import open_storage

APP = ROOT / "tests/shared/toy_search/app.py"
SPACE = "x=interval(0,1)"


def valley(number: int, x: float, y: float = 0, **others: Any) -> float:
    """The toy objective."""
    return (x - 0.5) ** 2 + y


class Direct:
    """What Hydra gives a sweeper, without Hydra: a loader of configs and a launcher of jobs."""

    def __init__(self, objective: Callable[..., Any]) -> None:
        self.objective = objective
        self.launched: list[tuple[int, tuple[str, ...]]] = []

    def load_sweep_config(self, config: Any, overrides: list[str]) -> Any:
        return OmegaConf.merge(config, OmegaConf.from_dotlist(list(overrides)))

    def launch(self, jobs: list[tuple[str, ...]], initial_job_idx: int) -> list[JobReturn]:
        """Call the objective with a trial's number and its overrides, as Hydra's basic launcher would run it."""
        returns = []
        for number, overrides in enumerate(jobs, start=initial_job_idx):
            self.launched.append((number, overrides))
            values = OmegaConf.to_container(OmegaConf.from_dotlist([one.replace("/", "_") for one in overrides]))
            try:
                returns.append(JobReturn(status=JobStatus.COMPLETED, _return_value=self.objective(number, **values)))
            except Exception as error:
                returns.append(JobReturn(status=JobStatus.FAILED, _return_value=error))
        return returns


class Toy:
    """Searches below `folder`; `toy(objective, "x=interval(0,1)", n_trials=3)` does one in this process."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.capfd, self.patch = folder, capfd, patch
        patch.setattr(sys, "argv", ["app.py", "--multirun"])
        patch.setenv("FRONTPAGE_CONFIGS", str(CONFIGS))

    def __call__(
        self,
        objective: Callable[..., Any],
        *arguments: str,
        status: int = 0,
        sampler: str = "tpe",
        pruner: str = "none",
        config: dict[str, Any] | None = None,
        sampler_keys: dict[str, Any] | None = None,
        **keys: Any,
    ) -> str:
        """Search; its stdout, or its stderr where a status other than 0 is expected."""
        defaults = OmegaConf.load(CONFIGS / "hydra/sweeper/optuna.yaml")
        del defaults["defaults"]
        name = keys.get("study_name", "toy")
        places = {"study_name": name, "directory": str(self.folder / "sweeps" / name), "seed": 1, "check": None}
        node = OmegaConf.merge(defaults, places, keys)
        node.sampler = OmegaConf.load(CONFIGS / f"hydra/sweeper/sampler/{sampler}.yaml") | (sampler_keys or {})
        node.pruner = pruner
        sweep = {"dir": places["directory"], "subdir": "${hydra.job.num}"}
        root = OmegaConf.create({"x": 0, "y": 0, "budget": 1, "kind": {"offset": 0}, **(config or {})})
        root.hydra = {"sweep": sweep, "sweeper": node, "runtime": {"choices": {}}}
        self.direct = Direct(objective)
        settings = {key: root.hydra.sweeper[key] for key in node if not key.startswith("_")}
        self.capfd.readouterr()

        def main() -> None:
            Sweep(Settings(**settings), root, self.direct, self.direct, list(arguments)).run()

        return self._ended(main, status)

    def program(self, *overrides: str, status: int = 0) -> str:
        """The same by the program in tests/shared/toy_search, in this process."""
        sys.path.insert(0, str(APP.parent))
        try:
            import app
        finally:
            sys.path.pop(0)
        self.patch.setattr(sys, "argv", ["app.py", "--multirun", f"paths.log_dir={self.folder}", *overrides])
        self.capfd.readouterr()
        return self._ended(app.run, status)

    def start(self, *overrides: str) -> subprocess.Popen:
        """The same in a process of its own."""
        arguments = ["--multirun", f"paths.log_dir={self.folder}", *overrides]
        return subprocess.Popen(
            [sys.executable, str(APP), *arguments],
            cwd=ROOT,
            env=os.environ | {"FRONTPAGE_CONFIGS": str(CONFIGS)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _ended(self, main: Callable[[], object], status: int) -> str:
        self.patch.delenv("HYDRA_FULL_ERROR", raising=False)
        ended = 0
        try:
            frontpage.command.program.program(main)
        except SystemExit as leaving:
            ended = leaving.code
        told = self.capfd.readouterr()
        assert ended == status, told.out[-3000:] + told.err
        if status == 0:
            assert told.err == ""
        self.said = told.out
        return told.err if status else told.out

    def study(self, name: str = "toy", storage: str | None = None) -> optuna.Study:
        """The study that searches have made."""
        place = storage or str(self.folder / "sweeps" / name / "study.journal")
        return optuna.load_study(study_name=name, storage=open_storage(place))

    def states(self, name: str = "toy") -> list[str]:
        """The state of each trial, by number."""
        return [trial.state.name for trial in self.study(name).trials]

    def started(self) -> list[int]:
        """The numbers of the trials that the program has started, in order."""
        return [int(line.split()[0]) for line in (self.folder / "started.txt").read_text().splitlines()]


@pytest.fixture
def toy(tmp_path, capfd, monkeypatch) -> Toy:
    """See Toy."""
    return Toy(tmp_path, capfd, monkeypatch)
