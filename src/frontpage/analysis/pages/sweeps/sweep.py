"""A study as it is reported: trials with the records of their runs, the winner, and who stands beside it."""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from frontpage.analysis.pages.sweeps.attributes import attributes_of
from frontpage.analysis.pages.sweeps.study_file import JOURNAL, OpenedStudy
from frontpage.command.notices import notice
from frontpage.evaluation.declared import Metric
from frontpage.runs.record import damage_of, headline_of, read_record
from frontpage.runs.run import Run

WORDS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
CONTINUED = "continued"  # its worker died, and another trial took its place


@dataclass(frozen=True)
class SweepTrial:
    """One trial: what the study knows of it, and the `run.json` of its run."""

    frozen: FrozenTrial
    directory: Path | None  # None where there is none any more
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)
    damage: str | None = None  # what is wrong with its record, where something is

    @property
    def number(self) -> int:
        """Its number, which is also the name of its folder."""
        return self.frozen.number

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """What the sweeper wrote down of it: `overrides directory reason ...`."""
        return attributes_of(self.frozen.user_attrs, f"trial {self.number}")

    @property
    def state(self) -> str:
        """One of `finished pruned failed running waiting continued`."""
        requeued = "requeued" in self.attributes and self.frozen.state is TrialState.FAIL
        return CONTINUED if requeued else WORDS[self.frozen.state]

    @property
    def values(self) -> list[float] | None:
        """The objectives of a finished trial whose every objective is a number; else None."""
        found = self.frozen.values if self.frozen.state is TrialState.COMPLETE else None
        return found if found and all(math.isfinite(value) for value in found) else None

    @property
    def curve(self) -> dict[int, float]:
        """Intermediate values by optimizer update; those that are no numbers are left out."""
        return {step: value for step, value in sorted(self.frozen.intermediate_values.items()) if math.isfinite(value)}

    @property
    def reason(self) -> str | None:
        """Why it failed, was pruned, or which trial continues it."""
        attributes = self.attributes
        if self.state == CONTINUED:
            return f"{attributes.get('reason') or 'its worker died'}; trial {attributes['requeued']} continues it"
        if self.state in ("failed", "pruned"):
            known = attributes.get("reason") or self.record.get("reason") or self.damage
            return str(known or "no reason was recorded")
        if self.state == "finished" and self.values is None:
            return "its objective is no finite number"
        return self.record.get("reason") or self.damage

    @property
    def overrides(self) -> list[str] | None:
        """What its run was launched with; None where the study does not say."""
        found = self.attributes.get("overrides")
        return None if found is None else list(found)

    def metric(self, name: str) -> float | None:
        """A metric of its last validation."""
        metrics = self.record.get("metrics")
        final = metrics.get("final") if isinstance(metrics, Mapping) else None
        value = final.get(name) if isinstance(final, Mapping) else None
        return value if isinstance(value, int | float) else None


@dataclass(frozen=True)
class Sweep:
    """A study, read once."""

    study: optuna.Study
    folder: Path | None  # what belongs to the study as a whole is kept there
    trials: list[SweepTrial]

    @cached_property
    def name(self) -> str:
        """The study's."""
        return self.study.study_name

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """What the sweeper wrote down: `command git_commit search space overrides ...`."""
        return attributes_of(self.study.user_attrs, f"study {self.name}")

    @cached_property
    def objectives(self) -> list[str]:
        """The names of the objectives, one for each direction."""
        count = len(self.study.directions)
        names = self.attributes.get("objectives") or self.study.metric_names or []
        unnamed = ["objective"] if count == 1 else [f"objective {place}" for place in range(count)]
        return [str(name) for name in names] if len(names) == count else unnamed

    @cached_property
    def headline(self) -> Metric:
        """The metric that says how good a run of it is."""
        return headline_of(next((trial.record for trial in self.trials if trial.record), {}))

    @cached_property
    def finished(self) -> list[SweepTrial]:
        """Trials whose objectives can be compared."""
        return [trial for trial in self.trials if trial.values is not None]

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many trials there are in each state that occurs."""
        found = Counter(trial.state for trial in self.trials)
        return {state: found[state] for state in (*WORDS.values(), CONTINUED) if found[state]}

    @cached_property
    def pareto(self) -> list[SweepTrial]:
        """Trials that no other one beats in all objectives, best first objective first; one objective: the best."""
        front = [trial for trial in self.finished if not any(self._beats(other, trial) for other in self.finished)]
        return sorted(front, key=lambda trial: (*self._costs(trial), trial.number))

    @property
    def winner(self) -> SweepTrial | None:
        """The best trial, of several objectives by the first; None where none has finished."""
        return self.pareto[0] if self.pareto else None

    def minimised(self, place: int) -> bool:
        """Whether the objective at `place` is better the lower it is."""
        return self.study.directions[place] is not StudyDirection.MAXIMIZE

    def parameters(self) -> list[str]:
        """Every parameter that a trial has, in the order of the search space or of their appearance."""
        found = dict.fromkeys(name for trial in self.trials for name in trial.frozen.params)
        first = [name for name in self.attributes.get("space") or {} if name in found]
        return list(dict.fromkeys([*first, *found]))

    def varied(self) -> list[str]:
        """The parameters of which finished trials have had several values."""
        return [name for name in self.parameters() if len({repr(value) for value in self.column(name).values()}) > 1]

    def column(self, name: str) -> dict[int, Any]:
        """The values of a parameter, by the numbers of the finished trials that have it."""
        return {one.number: one.frozen.params[name] for one in self.finished if name in one.frozen.params}

    def distribution(self, name: str) -> BaseDistribution:
        """What a parameter was drawn from; a categorical one where trials differ in that."""
        found = [trial.frozen.distributions[name] for trial in self.trials if name in trial.frozen.distributions]
        return next((one for one in found if isinstance(one, CategoricalDistribution)), found[-1])

    def ranks(self, place: int) -> dict[int, float]:
        """From 0, the best by the objective at `place`, to 1, by number; equals share the middle of their places."""
        costs = {trial.number: self._costs(trial)[place] for trial in self.finished}
        ordered, last = sorted(costs.values()), max(len(costs) - 1, 1)
        middle = {cost: (bisect_left(ordered, cost) + bisect_right(ordered, cost) - 1) / 2 for cost in ordered}
        return {number: middle[cost] / last for number, cost in costs.items()}

    def _costs(self, trial: SweepTrial) -> list[float]:
        return [value if self.minimised(place) else -value for place, value in enumerate(trial.values or [])]

    def _beats(self, one: SweepTrial, other: SweepTrial) -> bool:
        mine, theirs = self._costs(one), self._costs(other)
        return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def read_sweep(opened: OpenedStudy) -> Sweep:
    """The trials of a study with the records of their runs, looked for beside the journal where folders were moved."""
    study, folder, alone = opened
    named = attributes_of(study.user_attrs, f"study {study.study_name}").get("sweep_dir")
    own = alone and folder is not None and (folder / JOURNAL).is_file()  # in a folder of its own, perhaps a copy
    beside = alone or (folder is not None and named is not None and Path(named).name == folder.name)
    if named and not own and (Path(named).is_dir() or not beside):  # beside a shared storage may lie another's runs
        folder = Path(named)
    trials = []
    for frozen in study.get_trials(deepcopy=False):
        directory = _directory(frozen, folder)
        there = directory is not None and Run(directory).record_file.exists()
        damage = damage_of(directory) if there else None
        if damage:
            notice(f"{directory}: {damage}; of trial {frozen.number} only what the study says is known")
        trials.append(SweepTrial(frozen, directory, (read_record(directory) if there else None) or {}, damage))
    return Sweep(study, folder, trials)


def _directory(trial: FrozenTrial, folder: Path | None) -> Path | None:
    named = attributes_of(trial.user_attrs, f"trial {trial.number}").get("directory")
    if named is None:
        return None
    places = [*([folder / Path(named).name] if folder else []), Path(named)]
    return next((place for place in places if place.is_dir()), None)


def text_of(value: object) -> str:
    """A parameter's value as the command line spells it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)
