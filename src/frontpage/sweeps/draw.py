"""Drawing: a sampler proposes in a copy of the study, and a trial enters the study whole, in one record.

So no process can die between a trial and its parameters. The copy holds what an undisturbed search would have seen: of
a trial that was broken off, only the one that took it up again, in its place. What a sampler notes in the study (the
place in a sequence, the parents of a generation) is kept in the trial's own record.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

NOTES = "notes_of_sampler"  # the system attribute of a trial with what its drawing wrote to the study's


def undisturbed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials as they were where nothing had been broken off, by the number that each would have."""
    found: list[FrozenTrial] = []
    places: dict[int, int] = {}
    for trial in trials:
        before = trial.user_attrs.get("retry_of")
        place = places[trial.number] = len(found) if before is None else places[before]
        found[place : place + 1] = [trial]
    return found


def draw(
    study: optuna.Study,
    make_sampler: Callable[[int], optuna.samplers.BaseSampler],
    distributions: Mapping[str, BaseDistribution],
    suggest_more: Callable[[optuna.Trial], object] | None,
    *,
    waiting: FrozenTrial | None = None,
    point: Mapping[str, Any] | None = None,
) -> tuple[FrozenTrial, Exception | None]:
    """(a trial that is not in the study yet, what `suggest_more` raised or None).

    `waiting`, a trial of the queue, keeps the parameters that it has, and `point` is drawn as it is given. The sampler
    is made for the trial's number in the undisturbed search.
    """
    there = undisturbed(study.get_trials(deepcopy=False))
    number = len(there) if waiting is None else [trial.number for trial in there].index(waiting.number)
    copy = optuna.create_study(directions=study.directions, sampler=make_sampler(number))
    notes = dict(study._storage.get_study_system_attrs(study._study_id))
    for trial in there:
        notes |= trial.system_attrs.get(NOTES, {})
        if waiting is None or trial.number != waiting.number:
            copy.add_trial(_as_seen(trial))
    for key, value in notes.items():
        copy._storage.set_study_system_attr(copy._study_id, key, value)
    asked = waiting.system_attrs.get("fixed_params", {}) | waiting.params if waiting is not None else dict(point or {})
    if asked:
        copy.enqueue_trial(asked)
    trial, error = copy.ask(dict(distributions)), None
    try:
        if suggest_more is not None:
            suggest_more(trial)
    except Exception as refused:
        error = refused
    drawn = copy.get_trials(deepcopy=False)[trial.number]
    after = copy._storage.get_study_system_attrs(copy._study_id)
    noted = {key: value for key, value in after.items() if key not in notes or notes[key] != value}
    drawn.system_attrs |= {NOTES: noted} if noted else {}
    return drawn, error


def enter(
    study: optuna.Study,
    drawn: FrozenTrial,
    state: TrialState,
    attributes: Mapping[str, Any],
    waiting: FrozenTrial | None,
) -> FrozenTrial:
    """Put what was drawn into the study, in the place of `waiting` where there is one; the trial there."""
    if waiting is None:
        study.add_trial(
            create_trial(
                state=state,
                params=drawn.params,
                distributions=drawn.distributions,
                user_attrs={**drawn.user_attrs, **attributes},
                system_attrs=drawn.system_attrs,
            )
        )
        return study.get_trials(deepcopy=False)[-1]
    storage, identity = study._storage, waiting._trial_id
    for name, distribution in drawn.distributions.items():
        if name not in waiting.params:
            storage.set_trial_param(identity, name, distribution.to_internal_repr(drawn.params[name]), distribution)
    for name, value in {**drawn.user_attrs, **attributes}.items():
        storage.set_trial_user_attr(identity, name, value)
    for name, value in drawn.system_attrs.items():
        storage.set_trial_system_attr(identity, name, value)
    storage.set_trial_state_values(identity, state)  # last: until then it waits
    return study.get_trials(deepcopy=False)[waiting.number]


def _as_seen(trial: FrozenTrial) -> FrozenTrial:
    """A trial for the copy, in which none waits: it would be asked for first."""
    if trial.state != TrialState.WAITING:
        return trial
    return create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        system_attrs=trial.system_attrs,
    )
