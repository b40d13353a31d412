"""What a run of a search sees of it: its trial, its console, and what it reports while it trains."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

if TYPE_CHECKING:
    import lightning as L
    import optuna

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


def current_trial() -> "optuna.Trial | None":
    """The Optuna trial that this run is, for reporting to it; None outside a search."""
    sweeper = sweeper_of_job()
    if sweeper is None:
        return None
    import optuna

    from frontpage.sweeps.settings import open_pruner
    from frontpage.sweeps.storage import open_storage

    job = HydraConfig.get()
    study = optuna.load_study(
        study_name=sweeper.study_name,
        storage=open_storage(sweeper.storage, base=job.runtime.cwd),
        sampler=optuna.samplers.RandomSampler(),  # asked at once, and any other might count this as a proposal
        pruner=open_pruner(sweeper.pruner),
    )
    number = job.job.num
    return optuna.Trial(study, study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number))


def trial_callbacks(config: DictConfig) -> "list[L.Callback]":
    """What a run needs to be a trial; nothing outside a search."""
    sweeper = sweeper_of_job()
    if sweeper is None:
        return []
    from frontpage.command.objective import reported
    from frontpage.sweeps.report_trial import ReportTrial

    return [ReportTrial(current_trial(), reported(config.objective), sweeper.skip_infeasible)]


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
