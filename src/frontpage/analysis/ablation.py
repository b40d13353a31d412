"""What each variant of a search is worth: its difference to the base, paired by seed and by title, with an interval.

Two things are drawn by chance, seeds and titles, and the interval is over both: its half is
sqrt((t s / sqrt(n))^2 + (z e)^2), with s the standard deviation of the n seeds' differences, t the quantile of
Student's distribution with n - 1 degrees of freedom, e the standard error over titles of the difference that is
averaged over seeds, and z the quantile of the normal distribution.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import torch

from frontpage.analysis.comparison import TitleNats, title_nats
from frontpage.analysis.notebooks.seed_wise import interval
from frontpage.analysis.pages.sweeps.sweep import Sweep, SweepTrial
from frontpage.command.errors import BadValue, UserError
from frontpage.command.notices import notice
from frontpage.evaluation.metrics import ratio_with_error
from frontpage.runs.record import commits_of
from frontpage.sweeps.space import VARIANT

LEVEL = 0.95
SHOWN = ("pruned", "failed", "running", "waiting")
HEADER = "variant/overrides/seeds/loss/difference/95 % interval/clear/operations/not finished".split("/")
MADE_BY = "<!-- made by scripts/ablation.py -->"  # not shown in a document


class Scored(NamedTuple):
    """A finished trial."""

    nats: TitleNats
    flops: float | None


@dataclass(frozen=True)
class Effect:
    """A variant beside the base, in nats a character; `reach` is the half of its interval, None of the base."""

    variant: str
    overrides: list[str]
    seeds: int  # that both have finished
    loss: float | None  # mean over these seeds; None where there are none
    difference: float | None
    reach: float | None
    operations: float | None  # of its runs, in those of the base's
    unfinished: list[str]  # what became of its other trials, in words

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"verdict": self.verdict}

    @property
    def verdict(self) -> str:
        """`better` or `worse` where zero lies outside the interval, else `no`; empty where nothing is compared.

        `pruned` or `failed` where a trial was, `no ...` where one of the base is missing: those that finished are then
        the lucky ones. `one seed` where no spread is known.
        """
        for lost in ("pruned", "failed", "no "):
            if found := [one for one in self.unfinished if one.startswith(lost)]:
                return found[0].partition(" of ")[0].partition(":")[0]
        if self.difference is None or self.reach is None:
            return ""
        if self.seeds < 2:
            return "one seed"
        return "no" if abs(self.difference) <= self.reach else "better" if self.difference < 0 else "worse"


def ablation(sweep: Sweep, base: str = "base", trusted: Sequence[Path] = ()) -> list[Effect]:
    """The base, and then every other variant of a study, the best first; those without a finished pair last.

    Variants that no trial has begun are left out. Trials are scored on their validation titles unless they were before.
    UserError for a study without variants, or whose base has finished no trial.
    """
    variants = sweep.attributes.get("variants")
    if not variants or base not in variants:
        said = f"has the variants: {' '.join(variants)}" if variants else "has no variants (hydra.sweeper.variants)"
        raise BadValue("study", sweep.name, f"{said}, and {base} is none of them" if variants else said)
    if not any(trial.frozen.params.get(VARIANT) == base for trial in sweep.finished):
        raise BadValue("study", sweep.name, f"no trial of {base} has finished, so there is nothing to compare with")
    found: dict[str, dict[str, Scored]] = {name: {} for name in variants}
    for trial in sweep.finished:
        name = trial.frozen.params.get(VARIANT)
        if name not in found:
            continue
        if trial.directory is None:
            notice(f"trial {trial.number} ({name}) is left out: its directory is not there any more")
            continue
        try:
            nats = title_nats(trial.directory, trusted)
        except Exception as error:  # a run's files can be damaged in any way, and must not take the others with them
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            notice(f"trial {trial.number} ({name}) is left out: {reason}")
        else:
            found[name][_rest(trial)] = Scored(nats, trial.record.get("training_flops"))
    begun = {trial.frozen.params.get(VARIANT) for trial in sweep.trials}
    effects = [_effect(name, list(words), found, base, sweep) for name, words in variants.items() if name in begun]
    return sorted(effects, key=lambda one: (one.variant != base, one.difference is None, one.difference or 0.0))


def effect_of(pairs: Sequence[tuple[TitleNats, TitleNats]]) -> tuple[float, float]:
    """(mean difference of (variant, base), a pair a seed, the half of its interval), nats a character.

    Of one seed the interval is over titles alone.
    """
    one = pairs[0][0]
    if not all(np.array_equal(each.hashes, one.hashes) for pair in pairs for each in pair):
        raise BadValue("study", "its trials", "were validated on different titles")
    differences = torch.stack([mine.nll - its.nll for mine, its in pairs])
    mean, over_titles = ratio_with_error(differences.mean(0), one.characters)
    seeds = interval([float(row.sum() / one.characters.sum()) for row in differences], LEVEL)
    of_titles = NormalDist().inv_cdf((1 + LEVEL) / 2) * over_titles
    return mean, math.hypot(0.0 if math.isnan(seeds.reach) else seeds.reach, of_titles)


def _effect(name: str, words: list[str], found: Mapping[str, Mapping[str, Scored]], base: str, sweep: Sweep) -> Effect:
    mine, its = found[name], found[base]
    seeds = sorted(mine.keys() & its.keys())
    loss = sum(mine[seed].nats.value for seed in seeds) / len(seeds) if seeds else None
    difference = reach = None
    if seeds and name != base:
        difference, reach = effect_of([(mine[seed].nats, its[seed].nats) for seed in seeds])
    unfinished = [f"no {base} of its seed"] * len(mine.keys() - its.keys()) + _unfinished(name, sweep.trials)
    operations = _ratio([(mine[seed].flops, its[seed].flops) for seed in seeds])
    return Effect(name, words, len(seeds), loss, difference, reach, operations, unfinished)


def _ratio(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    """Of the sums of both; None where one is not known."""
    known = pairs and all(one and other for one, other in pairs)
    return sum(one for one, _ in pairs) / sum(other for _, other in pairs) if known else None


def _rest(trial: SweepTrial) -> str:
    """All that a trial has drawn but its variant: its seed, and what else is searched."""
    return repr(sorted((key, value) for key, value in trial.frozen.params.items() if key != VARIANT))


def _unfinished(name: str, trials: Sequence[SweepTrial]) -> list[str]:
    own = [trial for trial in trials if trial.frozen.params.get(VARIANT) == name]
    return [f"{one.state}: {one.reason}" if one.reason else one.state for one in own if one.state in SHOWN]


def cells_of(effects: Sequence[Effect]) -> list[list[str]]:
    """A table with a line a variant."""
    lines = [HEADER]
    for one in effects:
        difference = reach = ""
        if one.difference is not None:
            difference = f"{one.difference:+.4f}"
            reach = f"{one.difference - one.reach:+.4f} to {one.difference + one.reach:+.4f}"
        words = " ".join(f"`{word}`" for word in one.overrides)
        loss = "" if one.loss is None else f"{one.loss:.4f}"
        operations = "" if one.operations is None else f"{one.operations:.2f}"
        left = "; ".join(dict.fromkeys(one.unfinished))
        lines.append([one.variant, words, str(one.seeds), loss, difference, reach, one.verdict, operations, left])
    return lines


def markdown(effects: Sequence[Effect], sweep: Sweep) -> str:
    """The table for a document, with what it is of."""
    lines = [[cell.replace("|", "\\|") for cell in line] for line in cells_of(effects)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in [lines[0], ["---"] * len(lines[0]), *lines[1:]])
    commits = dict.fromkeys(commit for trial in sweep.finished for commit in commits_of(trial.record))
    return (
        f"Study `{sweep.name}`, commit {', '.join(commits) or 'unknown'}: `{sweep.attributes.get('command')}`. Nats a"
        f" character; differences to the base, paired by seed and title.\n\n{table}\n{MADE_BY}\n"
    )
