"""From a composed config to a run that is ready to train: what is checked, built and compared, in this order."""

from collections.abc import Callable
from dataclasses import dataclass

import lightning as L
from omegaconf import DictConfig

from frontpage.command.build import build, build_all
from frontpage.data.run_data import RunData
from frontpage.recipe.steps import planned_steps
from frontpage.recipe.training_module import TrainingModule
from frontpage.runs.checkpoints import rewind
from frontpage.runs.directory import RunDirectory
from frontpage.runs.provenance import provenance_of_run
from frontpage.runs.reopen import load_weights, masked, save_run_config, weights_of
from frontpage.training.callbacks.event_log import EventLog
from frontpage.training.callbacks.record_run import RecordRun
from frontpage.training.callbacks.resume_report import ResumeReport
from frontpage.training.callbacks.run_clock import RunClock
from frontpage.training.callbacks.score_test_set import ScoreTestSet
from frontpage.training.checkpoint_structure import check_structure
from frontpage.training.init_from import adopt_tokenizer
from frontpage.training.memory.fit_batch import fit_batch
from frontpage.training.memory.out_of_memory import out_of_memory_explained
from frontpage.training.plan import plan_run
from frontpage.training.preflight import check_config, check_run
from frontpage.training.resume import check_settings, goes_on
from frontpage.training.resumed_files import say_gaps
from frontpage.training.summary import print_finished, print_start, print_summary
from frontpage.training.written_places import check_places


@dataclass
class Prepared:
    """A run of which nothing is written yet, and nothing is left to check."""

    config: DictConfig
    run: RunDirectory
    trainer: L.Trainer
    data: RunData
    model: TrainingModule
    record: RecordRun

    def begin(self) -> None:
        """Write the run's first files and say what it will do; what it had written behind its checkpoint is gone."""
        if not self.trainer.is_global_zero:
            return
        rewind([*self.trainer.callbacks, *self.trainer.loggers], self.run.checkpoint)
        say_gaps(self.run.path)
        save_run_config(self.run.path, self.config, self.data, self.run.checkpoint)
        print_start(self.run, self.trainer, self.model, self.data, self.record)

    def fit(self) -> None:
        """Train, from the run's checkpoint where it has one, and say what came of it."""
        with out_of_memory_explained(self.trainer, self.data, self.model):
            self.trainer.fit(self.model, datamodule=self.data, ckpt_path=self.run.checkpoint, weights_only=True)
        if self.trainer.is_global_zero:
            print_summary(self.run, self.trainer, self.data)


def prepare(
    config: DictConfig, run: RunDirectory, more_callbacks: Callable[[DictConfig], list[L.Callback]]
) -> Prepared | None:
    """Check the config, build what it names, compare it with the run's checkpoint; UserError for any mistake.

    None where nothing is left to do, which is said. What `more_callbacks(config)` gives stands before those of the
    config.
    """
    if run.finished:
        print_finished(run, config)
        return None
    check_config(config)
    check_places(config, run)
    L.seed_everything(config.seed, verbose=False)

    data = build(config.data, "data")
    beginning = adopt_tokenizer(config, data, run.checkpoint)
    data.read()
    settings = masked(config)
    record = RecordRun(run.path / "run.json", settings)
    events = EventLog(run.path / "events.jsonl", settings)
    trainer = _trainer(config, run, [RunClock(), events, record, *more_callbacks(config)])

    data.setup()
    model = build(config.model, "model", vocab_size=data.vocab_size)
    model.provenance = provenance_of_run(settings, data.tokenizer, data.fingerprint, beginning).as_dict()
    if config.init_from and not run.checkpoint:
        load_weights(model, weights_of(config.init_from, "init_from"), "init_from")
    if trainer.fit_batch:
        fit_batch(trainer, data, model, run.path, resumed=run.checkpoint is not None)
    if not goes_on(run, planned_steps(trainer, data)):
        print_finished(run, config)
        return None
    check_run(trainer, data, model, run.checkpoint, config.objective)
    if run.checkpoint:
        check_settings(config, trainer, data, run.checkpoint)
        check_structure(trainer, data, model, run.checkpoint)
    record.plan = plan_run(trainer, data, model)
    return Prepared(config, run, trainer, data, model, record)


def _trainer(config: DictConfig, run: RunDirectory, first: list[L.Callback]) -> L.Trainer:
    """The Trainer with every callback and logger; those that every run has stand first."""
    callbacks = [*first, *build_all(config.callbacks, "callbacks"), ResumeReport()]
    if config.test:
        callbacks.append(ScoreTestSet(run.path))
    return build(config.trainer, "trainer", callbacks=callbacks, logger=build_all(config.logger, "logger"))
