"""ValidationSchedule: validations counted in optimizer updates."""

from typing import Any

import lightning as L
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.run_sizes import RunSizes
from frontpage.recipe.steps import sizes_now, updates_per_epoch
from frontpage.training.due import Due


class ValidationSchedule(_TrainingEpochLoop):
    """Lightning's loop over an epoch, with another answer to one question: is it time to validate?

    After the first update if asked for, after every `interval` updates (null: `evals_per_epoch` times an epoch, as
    the original exercise counts them; counted in each anew where epochs differ), and at the end of the run, however it
    ends.

    An update is complete behind its validation. Then callbacks that have an `on_update_end(trainer, pl_module)` hear
    of it: what they save is continued with the next update. Lightning's own hooks come too early for that: within an
    accumulation, before the step is logged, before the validation that is due. A checkpoint from within a validation
    is continued with that validation, from its start.
    """

    def __init__(self, trainer: L.Trainer, interval: int | None, evals_per_epoch: int, first_step: bool) -> None:
        old = trainer.fit_loop.epoch_loop
        super().__init__(trainer, min_steps=old.min_steps, max_steps=old.max_steps)
        self.interval, self.evals_per_epoch, self.first_step = interval, evals_per_epoch, first_step
        self._validate_again = False

    @property
    def done(self) -> bool:
        """Whether to leave the epoch: never within an update."""
        return not self._should_accumulate() and not self.owes_validation and super().done

    @property
    def owes_validation(self) -> bool:
        """Whether a resumed run has a validation to begin with: one that was broken off."""
        return self.restarting and self._validate_again

    @property
    def _is_validation_done(self) -> bool:
        return not self.owes_validation

    def run(self, data_fetcher: Any) -> None:
        """One epoch, or what is left of it after a resume, be it nothing."""
        self._take_sizes(data_fetcher)
        super().run(data_fetcher)
        self.on_iteration_done()  # the next epoch is no resumed one

    def reset(self) -> None:
        """Start an epoch; a resumed one with the counter that loggers use for steps where it was."""
        restarting = self.restarting
        super().reset()
        if restarting:
            self._batches_that_stepped = self.global_step - self._validate_again

    def advance(self, data_fetcher: Any) -> None:
        """One batch, or after a resume the validation that was broken off."""
        if self.restarting:
            self._restarting = self.val_loop.restarting = False  # Lightning guesses at what is to be done again
            if self._validate_again:
                return
        super().advance(data_fetcher)

    def on_advance_end(self, data_fetcher: Any) -> None:
        """Validate if it is time; then the update is complete."""
        super().on_advance_end(data_fetcher)
        self._validate_again = False
        if not self._should_accumulate():
            for callback in self.trainer.callbacks:
                if hasattr(callback, "on_update_end"):
                    callback.on_update_end(self.trainer, self.trainer.lightning_module)

    def on_save_checkpoint(self) -> dict[str, Any]:
        """Lightning's own, and whether the update's validation is under way."""
        batches = self.val_loop.batch_progress.current.completed
        under_way = self.trainer.validating and batches < sum(self.val_loop.max_batches)
        return super().on_save_checkpoint() | {"validate_again": under_way}

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        """Take that back."""
        super().on_load_checkpoint(state_dict)
        self._validate_again = state_dict.get("validate_again", False)

    def _should_check_val_fx(self, data_fetcher: Any) -> bool:
        trainer = self.trainer
        if self._should_accumulate():
            return False
        step, total = trainer.global_step, trainer.lightning_module.total_steps
        first = self.first_step and step == 1
        return first or self._is_regular(step) or trainer.should_stop or step >= total

    def due(self, last: int) -> Due:
        """The updates that are validated of a run of `last` updates."""
        first = {1} if self.first_step else set()
        run_sizes = self.trainer.datamodule.run_sizes(self.trainer)
        if not self._by_epoch(run_sizes):
            return Due(frozenset({self.updates_between}), last, frozenset(first))
        done, single = 0, first
        for sizes, updates in run_sizes.of_run(last):
            for epoch in range(done, done + updates, sizes.updates):
                every = self._every(sizes)
                single |= {*range(epoch + every, epoch + sizes.updates + 1, every)}
            done += updates
        return Due(frozenset(), last, frozenset(single))

    def _by_epoch(self, run_sizes: RunSizes) -> bool:
        """Whether validations are counted in each epoch anew, since some may have more updates than others."""
        return self.interval is None and run_sizes.alike != 0

    def _is_regular(self, step: int) -> bool:
        run_sizes = getattr(self.trainer.train_dataloader, "run_sizes", None)
        if run_sizes is None or not self._by_epoch(run_sizes):
            return step % self.updates_between == 0
        sizes = run_sizes.of(self.trainer.current_epoch)
        return (sizes.update_of(self.batch_idx) + 1) % self._every(sizes) == 0

    def _every(self, sizes: EpochSizes) -> int:
        return max(sizes.updates // self.evals_per_epoch, 1)

    def _take_sizes(self, data_fetcher: Any) -> None:
        """Tell Lightning how many batches this epoch has, and how many an update; it asks once a run only."""
        trainer, sizes = self.trainer, sizes_now(self.trainer)
        if sizes is not None:
            trainer.accumulate_grad_batches, trainer.fit_loop.max_batches = sizes.accumulate, sizes.batches
            data_fetcher.length, data_fetcher.combined_loader.limits = sizes.batches, [sizes.batches]

    @property
    def updates_between(self) -> int:
        """Updates between validations, in the first epoch where epochs differ."""
        return self.interval or max(updates_per_epoch(self.trainer) // self.evals_per_epoch, 1)
