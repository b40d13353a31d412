"""Train a model: `python train.py experiment=quickstart`; `--help` lists every group and option."""

from frontpage.command.program import program, task  # isort: skip  (first: it sends warnings to stdout)
import frontpage.command.quick_help  # isort: skip  # noqa: F401  (second: it answers --help before the slow imports)

import hydra
import lightning as L
from omegaconf import DictConfig

from frontpage.command.allowed_targets import named_targets
from frontpage.command.build import build, build_all
from frontpage.command.config_folder import CONFIGS
from frontpage.command.notices import forget_notices
from frontpage.command.objective import objective_values
from frontpage.recipe.steps import planned_steps
from frontpage.runs.checkpoints import rewind
from frontpage.runs.directory import open_run
from frontpage.runs.provenance import provenance_of_run
from frontpage.runs.reopen import load_weights, masked, save_run_config, weights_of
from frontpage.sweeps.job import trial_callbacks
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


@hydra.main(config_path=CONFIGS, config_name="train", execution_whitelist=sorted(named_targets()))
@task
def train(config: DictConfig) -> float | tuple[float, ...] | None:
    """Run one experiment; what it returns is the objective of a search."""
    forget_notices()
    with open_run(config) as run:
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
        callbacks = [RunClock(), events, record, *trial_callbacks(config), *build_all(config.callbacks, "callbacks")]
        callbacks.append(ResumeReport())
        if config.test:
            callbacks.append(ScoreTestSet(run.path))
        trainer = build(config.trainer, "trainer", callbacks=callbacks, logger=build_all(config.logger, "logger"))

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

        if trainer.is_global_zero:
            rewind([*trainer.callbacks, *trainer.loggers], run.checkpoint)
            say_gaps(run.path)
            save_run_config(run.path, config, data, run.checkpoint)
            print_start(run, trainer, model, data, record)

        with out_of_memory_explained(trainer, data, model):
            trainer.fit(model, datamodule=data, ckpt_path=run.checkpoint, weights_only=True)
        if trainer.is_global_zero:
            print_summary(run, trainer, data)
        return objective_values(config.objective, record.record)


if __name__ == "__main__":
    program(train)
