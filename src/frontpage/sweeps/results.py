"""What a sweep says: a line a trial, a summary, and `optimization_results.yaml`."""

from pathlib import Path

import filelock
import optuna
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState

from frontpage.command.disk_full import replacing
from frontpage.sweeps.space import spelled


def line_of(study: optuna.Study, trial: FrozenTrial) -> str:
    """Number, state, value, parameters, and the best so far, on one line."""
    parameters = " ".join(f"{key}={_shown(value)}" for key, value in trial.params.items())
    value = " ".join(f"{one:.6g}" for one in trial.values or []) if trial.state == TrialState.COMPLETE else ""
    parts = [f"trial {trial.number:<3} {trial.state.name:<8}", value or "-", parameters]
    if trial.state != TrialState.COMPLETE:
        parts.append(f"({trial.user_attrs.get('reason', 'no reason known')})")
    return "  ".join([*parts, _best(study)])


def summary(study: optuna.Study) -> str:
    """How many trials ended in which state, and the best."""
    trials = study.get_trials(deepcopy=False)
    counts = {state.name.lower(): sum(trial.state == state for trial in trials) for state in TrialState}
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    lines = [f"study {study.study_name}: {said or 'no trial'}"]
    for trial in _best_trials(study):
        values = " ".join(f"{value:.6g}" for value in trial.values)
        parameters = " ".join(f"{key}={_shown(value)}" for key, value in trial.params.items())
        lines.append(f"  best: trial {trial.number}, {values}, {parameters}, {trial.user_attrs.get('directory', '')}")
    return "\n".join(lines)


def save_results(study: optuna.Study, directory: Path) -> None:
    """Write the best trial, or the Pareto front, as hydra-optuna-sweeper does; workers that end at once take turns."""
    best = _best_trials(study)
    if not best:
        return
    if len(study.directions) == 1:
        content = {"name": "optuna", "best_params": best[0].params, "best_value": best[0].value}
    else:
        content = {"name": "optuna", "solutions": [{"params": one.params, "values": one.values} for one in best]}
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "optimization_results.yaml"
    with filelock.FileLock(directory / f".{path.name}.lock"), replacing(path) as partial:
        OmegaConf.save(OmegaConf.create(content), partial)


def _best(study: optuna.Study) -> str:
    trials = _best_trials(study)
    if len(study.directions) > 1:
        return f"[Pareto front: {' '.join(str(trial.number) for trial in trials)}]" if trials else ""
    return f"[best {trials[0].value:.6g}, trial {trials[0].number}]" if trials else ""


def _best_trials(study: optuna.Study) -> list[FrozenTrial]:
    if len(study.directions) > 1:
        return study.best_trials
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [study.best_trial] if complete else []


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else spelled(value)
