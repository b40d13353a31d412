"""StudySweeper: what Hydra calls for `--multirun` with `hydra/sweeper=optuna`."""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StudySweeper(Sweeper):
    """Runs trials of an Optuna study until there are enough; `configs/hydra/sweeper/optuna.yaml` explains its keys.

    The space is written in the grammar of hydra-optuna-sweeper, whose samplers work as well. Its loop is not used: it
    counts trials anew at each start, cannot prune, and forgets the trials of a process that died.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over what Hydra knows: the composed config and how to run a job."""
        self.config, self.context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep; UserError before anything is written, SystemExit with status 1 where all trials failed."""
        from frontpage.sweeps.loop import Sweep  # Optuna is not wanted at the start of every run
        from frontpage.sweeps.settings import settings_of

        Sweep(settings_of(self.settings), self.config, self.context.config_loader, self.launcher, arguments).run()
