"""RunLoop: a run that is taken up at its end still ends properly."""

from lightning.pytorch.loops.fit_loop import _FitLoop


class RunLoop(_FitLoop):
    """Lightning's loop over the epochs, which leaves nothing of a run's end undone where a stop or a kill did.

    Lightning's own is over as soon as the last update is done: the validation of that update, if it was broken off, is
    made up for here, and callbacks hear of the start and the end, when they settle what lies on the disk.
    """

    @property
    def done(self) -> bool:
        """Whether all updates are done, and the last validation, too."""
        return super().done and not self.epoch_loop.owes_validation

    def run(self) -> None:
        """Train what is left; where that is nothing, begin and end all the same."""
        self.setup_data()
        if self.skip:
            self.on_run_start()
            self.on_run_end()
        else:
            super().run()
