"""What a run of a search sees of it: its trial, its console, and what it reports while it trains."""

from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from frontpage.command.job import sweeper_of_job

if TYPE_CHECKING:
    import lightning as L
    import optuna


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
