"""Sweep: asks for trials, launches them, tells the study what came of them, until there are enough."""

import contextlib
import functools
import gc
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial, TrialState

from frontpage.command.disk_full import explain_full_disk
from frontpage.command.endings import FAILURE, Interrupted, Pruned
from frontpage.command.errors import BadValue, Infeasible, UserError
from frontpage.command.masking import hide, hide_argument
from frontpage.command.notices import notice
from frontpage.command.objective import reported
from frontpage.command.override_words import literal
from frontpage.sweeps.cluster import check_launcher
from frontpage.sweeps.draw import draw, enter
from frontpage.sweeps.recovery import fail, failure, recover, set_attributes, take_over
from frontpage.sweeps.rehearsal import check_shared, make_folder, rehearse
from frontpage.sweeps.results import line_of, save_results, summary
from frontpage.sweeps.settings import Settings, open_pruner
from frontpage.sweeps.space import read_space
from frontpage.sweeps.storage import KEY, why_not_opened
from frontpage.sweeps.study import open_study
from frontpage.sweeps.workers import Workers
from frontpage.training.memory.out_of_memory import OutOfMemory

FITS = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)  # a trial may
RAN_OUT = "out of memory"  # status of a trial that did while it trained
INFEASIBLE = 10  # times n_trials: so many trials may be found not to fit into memory


class Sweep:
    """One process's share of a study: `launcher` runs its trials, as Hydra jobs whose number is the trial's."""

    def __init__(
        self,
        settings: Settings,
        config: DictConfig,
        loader: ConfigLoader,
        launcher: Launcher,
        arguments: list[str],
    ) -> None:
        self.settings, self.config, self.loader, self.launcher = settings, config, loader, launcher
        self.space = read_space(settings.params or {}, arguments, settings.variants)
        if not self.space.texts and settings.custom_search_space is None:
            raise BadValue(
                "hydra.sweeper.params",
                "{}",
                "nothing to search; give a range, e.g. optimizer.lr='tag(log,interval(1e-4,1e-2))'",
            )
        settings.check_sampler(self.space.distributions)
        self.points = self.space.grid() if settings.grid else None
        self._one_by_one = 0  # launches that are of one trial each
        self.suggest_more = settings.function("custom_search_space")
        self.directory = Path(config.hydra.sweep.dir)
        subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]
        if subdir != "${hydra.job.num}":
            raise BadValue("hydra.sweep.subdir", subdir, "${hydra.job.num}, the trial's number")

    def run(self) -> None:
        """Sweep; raises UserError before the study is made, SystemExit(1) where nothing but failures came of it."""
        check_shared(self.config)
        check_launcher(OmegaConf.select(self.config, "hydra.launcher._target_"))
        rehearse(self.space, self.config, self.loader, self.settings.function("check"))
        make_folder(self.directory)
        for name in ("hydra", "hydra_plugins"):
            logging.getLogger(name).setLevel(logging.WARNING)  # they name every job, and so do we
        before = signal.signal(signal.SIGTERM, _interrupt) if _in_main_thread() else None
        gc.freeze()  # what is there now stays; to look through it behind each trial takes a second
        try:
            with Workers(self._folder(), self.settings.heartbeat) as self.workers:
                with self.workers.turn():
                    self.study = open_study(self.settings, self.space, self.config)
                self._introduce()
                while batch := self._next_batch():
                    self._launch(batch)
                self._conclude()
        except (optuna.exceptions.StorageInternalError, OSError) as error:  # it was there, and is gone, or full
            place, kind = (
                hide(f"{KEY}={self.settings.storage}"),
                "journal" if isinstance(error, OSError) else "database",
            )
            advice = "the same command goes on when it is back"
            print(f"{place}: the {kind} was lost ({why_not_opened(error)}); {advice}", file=sys.stderr)
            raise SystemExit(FAILURE) from None
        except UserError:
            with contextlib.suppress(OSError):  # it holds something
                self.directory.rmdir()
            raise
        finally:
            gc.unfreeze()
            if before is not None:
                signal.signal(signal.SIGTERM, before)

    def _folder(self) -> Path:
        """Where the workers' files lie: beside the journal, or for a database in the sweep's directory."""
        storage = self.settings.storage
        return (self.directory if "://" in storage else Path(storage).parent) / "workers"

    def _next_batch(self) -> list[FrozenTrial]:
        """Trials of consecutive numbers that are ours to run; none where there are enough."""
        taken: list[FrozenTrial] = []
        with self.workers.turn():
            for line in recover(self.study, self.workers, self.settings.max_retries):
                print(line, flush=True)
            most = 1 if self._one_by_one else self.settings.n_jobs
            while len(taken) < most:
                trials = self.study.get_trials(deepcopy=False)
                if not taken:
                    self._give_up_if_hopeless(trials)
                counted = _count(trials, TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
                waiting = next((trial for trial in trials if trial.state == TrialState.WAITING), None)
                points = self._open_points(trials) if waiting is None else None
                number = len(trials) if waiting is None else waiting.number
                follows = not taken or number == taken[-1].number + 1
                if counted >= self.settings.n_trials or points == [] or not follows:
                    break
                trial = self._take(number, waiting, points[0] if points else None)
                taken += [trial] if trial is not None else []
        self._one_by_one = max(self._one_by_one - 1, 0)
        return taken

    def _take(self, number: int, waiting: FrozenTrial | None, point: dict[str, Any] | None) -> FrozenTrial | None:
        """Trial `number`, of the queue or new, which is ours from now on; None where the custom function refuses it."""
        more = None if self.suggest_more is None else functools.partial(self.suggest_more, self.config)
        make, space = self.settings.make_sampler, self.space.distributions
        drawn, refused = draw(self.study, make, space, more, waiting=waiting, point=point)
        if refused is not None:
            status = "infeasible" if isinstance(refused, Infeasible) else "failed"
            said = failure(f"{type(refused).__name__}: {refused}", status)
            enter(self.study, drawn, TrialState.FAIL, said, waiting)
            self._say(number)
            return None
        attributes = {
            "worker": self.workers.name,
            "directory": str((self.directory / str(number)).absolute()),
            "overrides": [*map(hide_argument, self._overrides_of(drawn.params, waiting))],
        }
        return enter(self.study, drawn, TrialState.RUNNING, attributes, waiting)

    def _launch(self, batch: list[FrozenTrial]) -> None:
        """Run trials and tell the study what came of them."""
        jobs = [tuple(self._overrides_of(trial.params, trial)) for trial in batch]
        try:
            returns: Sequence[JobReturn] = self.launcher.launch(jobs, initial_job_idx=batch[0].number)
        except (Interrupted, KeyboardInterrupt):
            self._hand_back(batch)
            raise
        except Exception as error:  # of the launcher, e.g. a killed process of its own
            self._lose(batch, error)
            return
        full = {one.number: text for one, result in zip(batch, returns, strict=True) if (text := _full_disk(result))}
        self._hand_back([trial for trial in batch if trial.number in full], "the disk is full")
        for trial, result in zip(batch, returns, strict=True):
            if trial.number not in full:
                self._tell(trial, result)
        if full:
            _end_with_a_full_disk(next(iter(full.values())))
        del returns
        _forget_run()

    def _lose(self, batch: list[FrozenTrial], error: Exception) -> None:
        """Queue trials again whose launcher failed; those that had ended count.

        Of several it says nothing of any of them: they are launched one by one, and a trial counts as taken up once
        more where its own launch fails.
        """
        full, alone = explain_full_disk(error), len(batch) == 1
        self._hand_back(batch, "the disk is full" if full else _named(error), retry=full is None and alone)
        self._one_by_one += len(batch)
        if full:
            _end_with_a_full_disk(full)
        _forget_run()

    def _hand_back(self, batch: list[FrozenTrial], reason: str = "interrupted", *, retry: bool = False) -> None:
        """Settle trials that were broken off, or queue them again; `retry` as of `take_over`."""
        with self.workers.turn():
            for trial in batch:
                frozen = self.study.get_trials(deepcopy=False)[trial.number]
                if frozen.state == TrialState.RUNNING:
                    print(take_over(self.study, frozen, reason, self.settings.max_retries, retry=retry), flush=True)

    def _tell(self, trial: FrozenTrial, result: JobReturn) -> None:
        try:
            self._tell_own(trial, result)
        except optuna.exceptions.UpdateFinishedTrialError:
            print(f"trial {trial.number}: another worker has taken it over, since this one gave no sign of life")
        self._say(trial.number)

    def _tell_own(self, trial: FrozenTrial, result: JobReturn) -> None:
        """The same of a trial that is still this worker's; Optuna's error where it is another's."""
        error = _error_of(result)
        if isinstance(error, Pruned | optuna.TrialPruned):
            set_attributes(self.study, trial, status="pruned", reason=str(error))
            self.study.tell(trial.number, state=TrialState.PRUNED)
        elif error is not None:
            self._fail(trial, error)
        else:
            try:
                values = _numbers(result.return_value, len(self.study.directions))
            except ValueError as refused:
                fail(self.study, trial, str(refused))
                return
            set_attributes(self.study, trial, status="finished")
            self.study.tell(trial.number, values=values)

    def _fail(self, trial: FrozenTrial, error: BaseException) -> None:
        estimate = getattr(error, "estimated_memory_bytes", None)
        if estimate is not None:
            set_attributes(self.study, trial, estimated_memory_bytes=estimate)
        known = isinstance(error, UserError)
        status = "infeasible" if isinstance(error, Infeasible) else "failed"
        status = RAN_OUT if isinstance(error, OutOfMemory) else status
        fail(self.study, trial, _first_line(error) if known else _named(error), status)

    def _overrides_of(self, params: dict[str, Any], continued: FrozenTrial | None) -> list[str]:
        checkpoint = continued.user_attrs.get("checkpoint") if continued is not None else None
        resumed = [f"ckpt_path={literal(checkpoint)}"] if checkpoint else []
        return [*self.space.overrides(params), *resumed]

    def _open_points(self, trials: Sequence[FrozenTrial]) -> list[dict[str, Any]] | None:
        """The points of the grid that nobody has run or runs; None for any other sampler."""
        if self.points is None:
            return None
        points = [_point(trial) for trial in trials if "requeued" not in trial.user_attrs]
        taken = {tuple(point.get(key) for key in self.space.distributions) for point in points}
        return [point for point in self.points if tuple(point.values()) not in taken]

    def _give_up_if_hopeless(self, trials: Sequence[FrozenTrial]) -> None:
        """Leave with status 1 where too many trials have failed."""
        failed, infeasible = _failures(trials)
        most = self.settings.max_failed
        if failed >= most:
            self._leave(f"{failed} trials have failed, hydra.sweeper.max_failed={most}; each one's reason stands above")
        ran_out = sum(one.user_attrs.get("status") == RAN_OUT for one in trials)
        if ran_out >= most and not any(one.state in FITS for one in trials):
            self._leave(f"{ran_out} trials have run out of memory while they trained, hydra.sweeper.max_failed={most}")
        most = INFEASIBLE * self.settings.n_trials
        if infeasible >= most:
            self._leave(f"{infeasible} trials did not fit; the space holds hardly anything that does")

    def _leave(self, message: str) -> None:
        save_results(self.study, self.directory)
        print(f"hydra.sweeper.study_name={self.settings.study_name}: {message}", file=sys.stderr)
        raise SystemExit(FAILURE)

    def _introduce(self) -> None:
        name, trials = self.settings.study_name, self.study.get_trials(deepcopy=False)
        done = _count(trials, TrialState.COMPLETE, TrialState.PRUNED)
        wanted = min(self.settings.n_trials, len(self.points)) if self.points is not None else self.settings.n_trials
        print(f"study {name}: {done} of {wanted} trials are there; storage {hide(self.settings.storage)}")
        print(f"runs in {self.directory}, the console of each in {self.directory}/console", flush=True)
        names, prunes = (
            self.study.user_attrs["objectives"],
            not isinstance(open_pruner(self.settings.pruner), NopPruner),
        )
        if prunes and len(names) > 1:
            notice("hydra.sweeper.pruner: none, since runs with several objectives cannot be compared while they train")
        elif prunes and "objective" in self.config and reported(names) is None:
            notice(f"hydra.sweeper.pruner: none, since {names[0]} is not known while a run trains")
        strange = [one for one in trials if one.state == TrialState.RUNNING]
        for trial in (one for one in strange if self.workers.unknown(one.user_attrs.get("worker"))):
            notice(f"trial {trial.number} runs in a worker that cannot be seen from {self.workers.folder}; it counts")

    def _say(self, number: int) -> None:
        trials = self.study.get_trials(deepcopy=False)
        print(line_of(self.study, trials[number]), flush=True)

    def _conclude(self) -> None:
        save_results(self.study, self.directory)
        print(summary(self.study), flush=True)
        states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
        if TrialState.FAIL in states and {*states} <= {TrialState.FAIL}:
            self._leave("every trial has failed")


def _error_of(result: JobReturn) -> Exception | None:
    """What a job raised."""
    return result._return_value if result.status == JobStatus.FAILED else None


def _full_disk(result: JobReturn) -> str | None:
    """What is said of a job that a full disk has ended; None for any other."""
    return explain_full_disk(_error_of(result))


def _end_with_a_full_disk(said: str) -> NoReturn:
    """Leave with status 1: each trial behind would end so, too."""
    print(hide(said), file=sys.stderr)
    raise SystemExit(FAILURE)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


def _named(error: BaseException) -> str:
    """An error that is no mistake of the user's, by its class and its first line."""
    return f"{type(error).__name__}: {_first_line(error)}"


def _point(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters of a trial, also of one that is queued."""
    return trial.system_attrs.get("fixed_params", {}) | trial.params


def _count(trials: Sequence[FrozenTrial], *states: TrialState) -> int:
    return sum(trial.state in states for trial in trials)


def _failures(trials: Sequence[FrozenTrial]) -> tuple[int, int]:
    """(trials that failed for good, those that did not fit)."""
    failed = [one.user_attrs for one in trials if one.state == TrialState.FAIL and "requeued" not in one.user_attrs]
    infeasible = sum(attributes.get("status") in ("infeasible", RAN_OUT) for attributes in failed)
    return len(failed) - infeasible, infeasible


def _numbers(value: Any, count: int) -> list[float]:
    """The objective's values; ValueError unless they are `count` finite or infinite numbers."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    try:
        numbers = [float(one) for one in (value if several else [value])]
    except (TypeError, ValueError) as error:
        raise ValueError(f"the objective is no number: {value!r}") from error
    if len(numbers) != count:
        raise ValueError(f"the objective has {len(numbers)} values, and the study {count}")
    if any(number != number for number in numbers):
        raise ValueError(f"the objective is not a number: {value!r}")
    return numbers


def _forget_run() -> None:
    """Nothing of a run may stay in memory: what compiled it, and what refers to itself."""
    compiler = sys.modules.get("torch._dynamo")
    if compiler is not None:
        compiler.reset()
    gc.collect()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
