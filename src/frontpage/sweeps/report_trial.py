"""ReportTrial: a run of a search tells its study each validation, and ends early where others are better."""

from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import optuna

from frontpage.command.endings import Pruned
from frontpage.command.errors import Infeasible
from frontpage.command.notices import notice
from frontpage.machine.memory import free_bytes
from frontpage.machine.peak_memory import GIB
from frontpage.sweeps.storage import why_not_opened


class ReportTrial(L.Callback):
    """Reports `metric` by optimizer update, and raises Pruned behind the update where the pruner says so.

    Without a metric nothing is reported: there are several objectives, which Optuna cannot compare while runs are under
    way, or the objective is a cost that is known at the end. With
    `skip_infeasible` a run that is estimated to need more memory than is free raises Infeasible before its first step.
    A database that does not answer costs a notice and not the run.
    """

    def __init__(self, trial: optuna.Trial, metric: str | None, skip_infeasible: bool) -> None:
        self.trial, self.metric, self.skip_infeasible = trial, metric, skip_infeasible
        self._validated = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare the estimate with what is free; a run that continues has been through that."""
        plan = next((one.plan for one in trainer.callbacks if hasattr(one, "plan")), None)
        if not self.skip_infeasible or plan is None or plan.memory is None or trainer.global_step > 0:
            return
        need, free = plan.memory.total, free_bytes(pl_module.device)
        if pl_module.device.type == "cpu" and need > free:
            error = Infeasible(f"needs an estimated {need / GIB:.2f} GiB, and {free / GIB:.2f} GiB are free")
            error.estimated_memory_bytes = need
            raise error

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report once a step; a run that continues does not tell a value again."""
        step = trainer.global_step
        with _not_fatal(step):
            known = self.trial.study._storage.get_trial(self.trial._trial_id).intermediate_values
            if self.metric is not None and step not in known:
                self.trial.report(float(pl_module.metrics[self.metric]), step)
                self._validated = True

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the run where it is worse than others; not behind its last update, when it is complete."""
        due, self._validated = self._validated, False
        if not due or trainer.should_stop or trainer.global_step >= pl_module.total_steps:
            return
        worse = False
        with _not_fatal(trainer.global_step):
            worse = self.trial.should_prune()
        if worse:
            value = pl_module.metrics[self.metric]
            at = f"at update {trainer.global_step} of {pl_module.total_steps}"
            raise Pruned(f"pruned {at}: {self.metric} is {value:.6g}, and others were better there")


@contextmanager
def _not_fatal(step: int) -> Iterator[None]:
    """Go on where the study's storage does not answer: what the run is worth stands in its run.json as well."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, OSError) as error:
        notice(f"update {step}: the study cannot be reached ({why_not_opened(error)}); the run goes on unpruned")
