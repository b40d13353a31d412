"""From a composed config to a run that is ready to train: what is checked, built and compared, in this order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
from omegaconf import DictConfig

from frontpage.command.build import build, build_all
from frontpage.command.endings import Failure
from frontpage.command.kept_by_experiment import say_what_the_experiment_keeps
from frontpage.data.run_data import RunData
from frontpage.machine.accelerator import find_accelerator
from frontpage.machine.precision import what_lacks
from frontpage.recipe.precision.mode import PrecisionMode, mode_of
from frontpage.recipe.training_module import TrainingModule
from frontpage.runs.checkpoint import Checkpoint, rewind, weights_for
from frontpage.runs.checkpoint_structure import check_structure
from frontpage.runs.init_from import adopt_tokenizer, first_weights
from frontpage.runs.open_run import CurrentRun
from frontpage.runs.provenance import Beginning, provenance_of_run
from frontpage.runs.record import told
from frontpage.runs.reopen import reopened
from frontpage.runs.resumed_files import say_gaps
from frontpage.runs.resumed_settings import check_model, check_settings, goes_on
from frontpage.runs.save import masked, save_run
from frontpage.runs.teachers import check_teachers
from frontpage.training.callbacks.event_log import EventLog
from frontpage.training.callbacks.process_times import ProcessTimes
from frontpage.training.callbacks.record_run import RecordRun
from frontpage.training.callbacks.resume_report import ResumeReport
from frontpage.training.callbacks.run_clock import RunClock
from frontpage.training.callbacks.score_test_set import ScoreTestSet
from frontpage.training.callbacks.stop_on_signal import signals_given_back
from frontpage.training.meeting import meeting
from frontpage.training.memory.fit_batch import fit_batch
from frontpage.training.memory.out_of_memory import out_of_memory_explained
from frontpage.training.plan import plan_run
from frontpage.training.preflight import check_config, check_run
from frontpage.training.processes import ending_together
from frontpage.training.summary import print_start, print_summary
from frontpage.training.written_places import check_places


@dataclass
class Prepared:
    """A run of which nothing is written yet, and nothing is left to check."""

    settings: dict[str, Any]  # the config, resolved and masked
    run: CurrentRun
    weights: Checkpoint | None  # that the run begins with, of its own or of another run
    trainer: L.Trainer
    data: RunData
    model: TrainingModule
    record: RecordRun

    def begin(self) -> None:
        """Write the run's first files and say what it will do; what it had written after its checkpoint is gone."""
        if not self.trainer.is_global_zero:
            return
        rewind([*self.trainer.callbacks, *self.trainer.loggers], self.run.checkpoint)
        say_gaps(self.run)
        teachers = [run for runs in self.model.learns_from.values() for run in runs]
        save_run(self.run, self.settings, self.data, self.weights, teachers)
        print_start(self.run, self.trainer, self.model, self.data, self.record)

    def fit(self) -> None:
        """Train, from the run's checkpoint where it has one, and say what came of it."""
        begins_at = self.run.checkpoint and self.run.checkpoint.path
        self.weights = self.run.checkpoint = None  # else a file that was replaced would stay on the disk
        explained = out_of_memory_explained(self.trainer, self.data, self.model)
        try:
            with explained, ending_together(self.trainer), signals_given_back(self.trainer):
                self.trainer.fit(self.model, datamodule=self.data, ckpt_path=begins_at, weights_only=True)
        except Failure as failure:  # which process has ended; the callbacks have seen a connection break
            self.record.on_exception(self.trainer, self.model, failure)
            raise
        if self.trainer.is_global_zero:
            print_summary(self.run, self.trainer, self.data)


def prepare(
    config: DictConfig, run: CurrentRun, more_callbacks: Callable[[DictConfig], list[L.Callback]]
) -> Prepared | None:
    """Check the config, build what it names, compare it with the run's checkpoint; UserError for any mistake.

    None where nothing is left to do, as `run.finished` says. What `more_callbacks(config)` gives stands before those
    of the config.
    """
    if run.finished:
        return None
    check_config(config, to_train=run.checkpoint is None)
    check_places(config, run)
    say_what_the_experiment_keeps(config)
    mode = mode_of(config)
    L.seed_everything(config.seed, verbose=False)

    data = build(config.data, "data")
    weights = run.checkpoint or first_weights(config)
    beginning = adopt_tokenizer(config, data, weights, continued=run.checkpoint is not None) if weights else Beginning()
    settings = masked(config)
    if (met := meeting()) is not None:
        met.agree(settings)
    record, events = RecordRun(run.record_file, settings), EventLog(run.events_file, settings)
    data.read()
    if config.test:
        data.test_set()
    trainer = _trainer(config, run, mode, [RunClock(), events, record, ProcessTimes(), *more_callbacks(config)])
    if mode is not None:
        mode.check_processes(trainer.world_size)

    data.setup()
    model = build(config.model, "model", vocab_size=data.vocab_size)
    model.connect(data.tokenizer, data.block_size, reopened)
    for key, teachers in model.learns_from.items():
        check_teachers(teachers, key, data.training_texts(), data.validation_texts())
    model.train_in(mode)
    model.provenance = provenance_of_run(settings, data.tokenizer, data.fingerprint, beginning).as_dict()
    if run.checkpoint:
        check_model(settings, run.checkpoint)
    elif weights:
        model.load_state_dict(weights_for(model, weights))
    if trainer.fit_batch:
        fit_batch(trainer, data, model, run.checkpoint and run.checkpoint.run)
    planned = check_run(trainer, data, model, run.checkpoint, config.objective)
    if not goes_on(run, planned):
        return None
    if run.checkpoint:
        check_settings(config, settings, planned, data, run.checkpoint, trainer.world_size)
        check_structure(trainer, data, model, run.checkpoint)
    record.plan = plan_run(trainer, data, model)
    return Prepared(settings, run, weights, trainer, data, model, record)


def _trainer(config: DictConfig, run: CurrentRun, mode: PrecisionMode | None, first: list[L.Callback]) -> L.Trainer:
    """The Trainer with every callback and logger; those that every run has stand first."""
    callbacks = [*first, *build_all(config.callbacks, "callbacks"), ResumeReport()]
    if config.test:
        callbacks.append(ScoreTestSet(run.path))
    precision = {} if mode is None else {"precision": mode.lightning}
    if mode is None and run.checkpoint and str(config.trainer.precision) == "auto":
        had = told(run.checkpoint.run.record, "precision")  # of a run that may go on in another directory
        there = had is not None and what_lacks(had, find_accelerator(config.trainer.accelerator)) is None
        precision = {"precision": had} if there else {}
    logger = build_all(config.logger, "logger")
    return build(config.trainer, "trainer", callbacks=callbacks, logger=logger, **precision)
