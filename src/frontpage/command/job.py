"""What a run of a search sees of it: its study, and the console that it writes to."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

SWEEPER = "frontpage.sweeps.sweeper.StudySweeper"


def sweeper_of_job() -> DictConfig | None:
    """The keys of `hydra.sweeper` in a run of our sweeper; None in any other run."""
    if not HydraConfig.initialized():
        return None
    job = HydraConfig.get()
    ours = str(job.mode).endswith("MULTIRUN") and (job.sweeper or {}).get("_target_") == SWEEPER
    return job.sweeper if ours and "num" in job.job else None


def study_of_job() -> str | None:
    """The name of the study that this run belongs to."""
    sweeper = sweeper_of_job()
    return None if sweeper is None else sweeper.study_name


@contextlib.contextmanager
def console_of_trial() -> Iterator[None]:
    """In a search, what a run prints goes to a file, so that the console has a line a trial."""
    if sweeper_of_job() is None:
        yield
        return
    path = Path(HydraConfig.get().runtime.output_dir).parent / "console" / f"{HydraConfig.get().job.num}.txt"
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        yield
