"""Train a model: `python train.py experiment=quickstart`; `--help` lists every group and option."""

from frontpage.command.program import program, task  # isort: skip  (first: it sends warnings to stdout)
import frontpage.command.quick_help  # isort: skip  # noqa: F401  (second: it answers --help before the slow imports)

import hydra
from omegaconf import DictConfig

from frontpage.command.allowed_targets import named_targets
from frontpage.command.config_folder import CONFIGS
from frontpage.command.notices import forget_notices
from frontpage.command.objective import objective_values
from frontpage.runs.open_run import open_run
from frontpage.sweeps.job import trial_callbacks
from frontpage.training.meeting import together
from frontpage.training.prepare import prepare
from frontpage.training.summary import print_finished


@hydra.main(config_path=CONFIGS, config_name="train", execution_whitelist=sorted(named_targets()))
@task
def train(config: DictConfig) -> float | tuple[float, ...] | None:
    """Run one experiment; what it returns is the objective of a search."""
    forget_notices()
    with open_run(config) as run:  # its directory, locked, and the checkpoint that it continues from
        ready = prepare(config, run, trial_callbacks)  # all that can be wrong is told here
        if ready is None:
            print_finished(run, config)
            return None
        ready.begin()  # the first files, and what the run says at its start
        ready.fit()
        return objective_values(config.objective, ready.record.record)


if __name__ == "__main__":
    program(together(train))  # torchrun and srun start it several times
