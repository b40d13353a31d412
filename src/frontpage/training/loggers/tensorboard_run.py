"""TensorBoardRun: every logged value, for TensorBoard."""

from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger

from frontpage.command.extras import installing


class TensorBoardRun(TensorBoardLogger):
    """Writes event files to `directory/tensorboard`; ImportError names the extra to install where it is missing."""

    def __init__(self, directory: str | Path) -> None:
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise ImportError(f"needs the extra `tensorboard`: {installing('tensorboard')}") from error
        super().__init__(directory, name="", version="tensorboard")

    def rewind(self, step: int) -> None:
        """Hide the rows of updates after `step`, which come again; rows are numbered from 0."""
        self._kwargs["purge_step"] = step
