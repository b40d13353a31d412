"""The experiment that a trial makes, with the header that says where its numbers come from."""

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from hydra.errors import MissingConfigException

from frontpage.analysis.pages.sweeps.sweep import Sweep, SweepTrial
from frontpage.analysis.pages.sweeps.table import number_form, spelled
from frontpage.analysis.pages.sweeps.winner_score import kept_scores
from frontpage.command.allowed_targets import check_recorded
from frontpage.command.errors import BadValue, UserError, nearest
from frontpage.command.masking import hide
from frontpage.command.moved_targets import with_todays_targets
from frontpage.evaluation.metrics import HEADLINE
from frontpage.sweeps.promotion import Promotion, experiments_within, promotion_of


class Best(NamedTuple):
    """An experiment that is ready to be written."""

    promotion: Promotion
    text: str  # of the file
    command: str  # that trains the same without the file


def trial_of(sweep: Sweep, number: int | None) -> SweepTrial:
    """The finished trial `number`, or the winner for None; UserError where there is none."""
    numbers = [trial.number for trial in sweep.finished]
    if not numbers:
        counts = ", ".join(f"{count} {state}" for state, count in sweep.counts.items()) or "none at all"
        raise BadValue("study", sweep.name, f"no trial has finished with a result (trials: {counts})")
    if number is None:
        return sweep.winner
    known = " ".join(map(str, numbers[:40]))
    if number not in numbers:
        raise BadValue("--trial", number, f"not one of the finished trials{nearest(str(number), [])}: {known}")
    return next(trial for trial in sweep.finished if trial.number == number)


def best_of(
    sweep: Sweep,
    trial: SweepTrial,
    name: str,
    study: str,
    trusted: Iterable[Path] = (),
    folders: Sequence[Path | str] = (),
) -> Best:
    """The experiment `name` that trains what `trial` trained; `study` is what the user calls the study.

    `folders` hold more configs than configs/, as --config-dir added them to the search.

    Raises UserError where the study does not say how the trial was launched, or an experiment cannot say it, for the
    name of an experiment that it would start from, and for a class that configs/ do not name, unless the trial lies in
    one of the folders `trusted`.
    """
    if trial.overrides is None:
        raise UserError(f"trial {trial.number} of {sweep.name}: the study does not say which overrides it had")
    recorded = with_todays_targets(trial.record.get("config"))
    try:
        promotion = promotion_of(trial.overrides, recorded, f"trial {trial.number}", folders)
    except MissingConfigException as error:
        lost = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{lost}, nor in a folder of --config-dir\nallowed: the folders that the search had") from error
    if promotion.base and name in experiments_within(promotion.base, folders):
        raise BadValue("--name", name, "the trial started from this experiment, or one made of it; another name")
    check_recorded(promotion.keys, trial.directory or study, trusted)
    command = train_command(folders)
    words = shlex.join([*command, *promotion.overrides()])
    again = shlex.join([*command, f"experiment={name}"])
    return Best(promotion, promotion.text(name, header(sweep, trial, again, study)), hide(words))


def train_command(folders: Sequence[Path | str]) -> list[str]:
    """The words that train with the configs of `folders`, to which an experiment is added."""
    return ["python", "train.py", *(f"--config-dir={folder}" for folder in folders)]


def header(sweep: Sweep, trial: SweepTrial, command: str, study: str) -> list[str]:
    """What stands above the experiment: the command that trains it, study, trial, result, commit."""
    search = f" (search {sweep.attributes['search']})" if sweep.attributes.get("search") else ""
    tried = ", ".join(f"{count} {state}" for state, count in sweep.counts.items())
    place = "the best" if trial == sweep.winner else "chosen by hand, not the best"
    lines = [
        f"Trial {trial.number} of the study {sweep.name}{search}: {place} of {len(sweep.trials)} trials ({tried}).",
        f"  {command}",
        f"Measured: {_results(sweep, trial)}{_commit(sweep, trial)}{_cost(trial)}. Chosen by this value.",
    ]
    lines += [
        f"Test: {HEADLINE.name} {score.value:.4f}" + (f" +- {score.error:.4f}" if score.error else "") + f" on"
        f" {score.of_titles} titles of {score.source}, {score.when}."
        for score in kept_scores(sweep)
        if score.trial == trial.number
    ]
    if sweep.attributes.get("command"):
        lines.append(f"The study: {sweep.attributes['command']}")
    lines.append(f"Written {datetime.now():%Y-%m-%d} by: python scripts/promote.py {study} --trial {trial.number}")
    return [hide(line) for line in lines]


def _results(sweep: Sweep, trial: SweepTrial) -> str:
    found = []
    for objective, value in zip(sweep.objectives, trial.values or [], strict=True):
        named = sweep.headline.error if objective == sweep.headline.name else f"{objective}_se"
        error = trial.metric(named) if named else None
        found.append(f"{objective} {spelled(value, number_form(value))}" + (f" +- {error:.4f}" if error else ""))
    return ", ".join(found)


def _commit(sweep: Sweep, trial: SweepTrial) -> str:
    commit = trial.record.get("git_commit") or sweep.attributes.get("git_commit")
    if not commit:
        return " outside git"
    return f" at commit {commit[:7]}" + (
        " with changes that were not committed" if trial.record.get("git_dirty") else ""
    )


def _cost(trial: SweepTrial) -> str:
    seconds, device = trial.record.get("seconds"), trial.record.get("device")
    return (f", {seconds:.0f} s" if seconds else "") + (f" on {device}" if seconds and device else "")
