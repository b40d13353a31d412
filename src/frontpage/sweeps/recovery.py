"""Trials whose worker died or was interrupted: those that had ended are settled, the others are queued again."""

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from frontpage.command.masking import hide
from frontpage.command.objective import objective_values
from frontpage.runs.record import read_record
from frontpage.runs.run import Run
from frontpage.sweeps.workers import Workers

DIED = "its worker died"


def recover(study: optuna.Study, workers: Workers, max_retries: int) -> list[str]:
    """Take care of every running trial of a dead worker, within a turn; lines that say what was done.

    Nothing is done twice, should this process die in between.
    """
    said = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if workers.dead(trial.user_attrs.get("worker")):
            said.append(take_over(study, trial, DIED, max_retries))
    return said


def take_over(study: optuna.Study, trial: FrozenTrial, reason: str, max_retries: int, *, retry: bool = True) -> str:
    """Settle a broken off trial by its `run.json`, or else fail it and queue it again; the line that says so.

    `retry`: whether it counts as one of `max_retries`. The new trial has the same parameters, and the values that were
    reported up to the checkpoint that it will continue from.
    """
    directory = trial.user_attrs.get("directory")
    for path in Run(Path(directory)).torn if directory else ():
        path.unlink(missing_ok=True)
    record = record_of_end(directory, study.user_attrs["objectives"]) if directory else None
    status = record.get("status") if record else None
    if status in ("finished", "pruned", "failed"):
        return settle(study, trial, record, reason)
    retries = trial.user_attrs.get("retries", 0) + retry
    if retries > max_retries:
        fail(study, trial, f"{reason}; it was taken up again {max_retries} times (hydra.sweeper.max_retries)")
        return f"trial {trial.number}: {reason}, and it has been taken up {max_retries} times: FAIL"
    new = _continuation(study, trial)
    if new is None:
        checkpoint, step = find_checkpoint(study, trial)
        attributes = {"retry_of": trial.number, "retries": retries}
        study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                intermediate_values={at: value for at, value in trial.intermediate_values.items() if at <= step},
                user_attrs=attributes | ({"checkpoint": str(checkpoint), "continues_at": step} if checkpoint else {}),
                system_attrs=trial.system_attrs,
            )
        )
        new = _continuation(study, trial)
    set_attributes(study, trial, requeued=new.number)
    fail(study, trial, reason, status="interrupted")
    update = new.user_attrs.get("continues_at")
    where = "starts anew" if update is None else f"continues at update {update}"
    return f"trial {trial.number}: {reason}; trial {new.number} {where} with the same parameters"


def find_checkpoint(study: optuna.Study, trial: FrozenTrial) -> tuple[Path | None, int]:
    """The newest intact checkpoint of a trial's run, or of what that continued, and its update; or (None, 0)."""
    directory = trial.user_attrs.get("directory")
    folder = Run(Path(directory)).checkpoints if directory else None
    if folder is not None and folder.is_dir():
        from frontpage.runs.checkpoint import newest_intact

        newest = newest_intact(folder)
        if newest is not None:
            return newest.path, newest.update
    before = trial.user_attrs.get("retry_of")
    return find_checkpoint(study, study.get_trials(deepcopy=False)[before]) if before is not None else (None, 0)


def settle(study: optuna.Study, trial: FrozenTrial, record: dict, reason: str) -> str:
    """Tell the study what the `run.json` of a broken off trial says of its run's end; the line that says so."""
    names = study.user_attrs["objectives"]
    values = objective_values(names, record) if record["status"] == "finished" else None
    if values is not None and all(value == value for value in values):
        set_attributes(study, trial, status="finished")
        study.tell(trial.number, values=list(values))
    elif record["status"] == "pruned":
        set_attributes(study, trial, status="pruned", reason=str(record.get("reason")))
        study.tell(trial.number, state=TrialState.PRUNED)
    else:
        fail(study, trial, str(record.get("reason") or "") or f"{' '.join(names)}: no value")
    return f"trial {trial.number}: {reason}, but its run had {record['status']}; it counts"


def fail(study: optuna.Study, trial: FrozenTrial, reason: str, status: str = "failed") -> None:
    """Record a trial as failed, and why."""
    set_attributes(study, trial, **failure(reason, status))
    study.tell(trial.number, state=TrialState.FAIL)


def failure(reason: str, status: str = "failed") -> dict[str, str]:
    """What a failed trial says of itself."""
    return {"reason": hide(reason), "status": status}


def set_attributes(study: optuna.Study, trial: FrozenTrial | optuna.Trial, **attributes: object) -> None:
    """Write user attributes to a trial that is not finished."""
    for name, value in attributes.items():
        study._storage.set_trial_user_attr(trial._trial_id, name, value)


def _continuation(study: optuna.Study, trial: FrozenTrial) -> FrozenTrial | None:
    """The trial that takes a broken off one up again."""
    trials = study.get_trials(deepcopy=False)
    return next((one for one in trials if one.user_attrs.get("retry_of") == trial.number), None)


def record_of_end(directory: str | Path, objectives: Sequence[str]) -> dict | None:
    """The `run.json` of a run; None where there is none, or it does not say how the run ended and what came of it."""
    record = read_record(Path(directory))
    try:
        if record is not None and record["status"] == "finished":
            objective_values(objectives, record)
        return record
    except (KeyError, TypeError, AttributeError):
        return None
