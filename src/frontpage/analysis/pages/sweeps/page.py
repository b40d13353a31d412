"""The page: one HTML file that needs no network, from a study, its plots, its winner's experiment and test score."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from frontpage.analysis.pages.sweeps.best import Best
from frontpage.analysis.pages.sweeps.figures import SURE, SURFACE, Panels
from frontpage.analysis.pages.sweeps.look import as_json, labelled
from frontpage.analysis.pages.sweeps.sweep import Sweep, SweepTrial, text_of
from frontpage.analysis.pages.sweeps.table import EARLY, columns_of, number_form, spelled
from frontpage.analysis.pages.sweeps.winner_score import TestScore
from frontpage.analysis.pages.web_page.parts import Card, duration, last_samples
from frontpage.analysis.pages.web_page.render import rendered
from frontpage.runs.run import Run

TITLES = 5  # invented by the winner


class Near(NamedTuple):
    """How many other trials lie within the winner's standard error."""

    count: int
    error: float


def page(
    sweep: Sweep,
    panels: Panels,
    best: Best | None,
    lacking: str,
    promote: str,
    scores: Sequence[TestScore],
    notices: Sequence[str],
) -> str:
    """The whole page as text; all that comes from runs is escaped, and known secrets are hidden.

    `best` is the winner's experiment, which the command `promote` writes; without one `lacking` says why.
    """
    directory = sweep.winner and sweep.winner.directory
    return rendered(
        "sweeps/page.html",
        sweep=sweep,
        now=f"{datetime.now():%Y-%m-%d %H:%M}",
        large=list(_cards(sweep, scores)),
        notices=notices,
        facts=_facts(sweep),
        space=_space(sweep),
        near=_near(sweep),
        scores=scores,
        measured=measured,
        counted=lambda count: "unknown" if count is None else f"{count:,}",
        best=best,
        why_none=lacking,
        promote=promote,
        samples=last_samples(Run(directory).samples_file, TITLES) if directory else [],
        panels=panels,
        sure=SURE,
        surface=SURFACE,
        early=[trial for trial in sweep.trials if trial.reason and trial.state != "running"],
        columns={"early": EARLY, "all": columns_of(sweep)},
        plotly=Markup(get_plotlyjs()),
        figures={key: list(map(as_json, found)) for key, found in panels.items() if not isinstance(found, str)},
    )


def measured(value: float, error: float | None) -> str:
    """A value with its standard error, where there is one."""
    return spelled(value, number_form(value)) + (f" ± {error:.4f}" if error else "")


def _cards(sweep: Sweep, scores: Sequence[TestScore]) -> Iterable[Card]:
    winner = sweep.winner
    for place, name in enumerate(sweep.objectives if winner else ()):
        ends = "lowest" if sweep.minimised(place) else "highest"
        what = f"{labelled(name)} of the same trial" if place else f"{ends} {labelled(name)}, trial {winner.number}"
        yield Card(measured(winner.values[place], winner.metric(f"{name}_se")), what)
    if scores:
        yield Card(measured(scores[-1].value, scores[-1].error), f"the same on test titles, trial {scores[-1].trial}")
    counts = ", ".join(f"{count} {state}" for state, count in sweep.counts.items()) or "no trials yet"
    yield Card(str(len(sweep.trials)), f"trials: {counts}")
    included = {number for trial in sweep.trials if trial.record.get("seconds") for number in _behind(trial, sweep)}
    seconds = sum(trial.record.get("seconds") or 0.0 for trial in sweep.trials if trial.number not in included)
    if seconds:
        yield Card(duration(seconds), "of training, all trials together")


def _behind(trial: SweepTrial, sweep: Sweep) -> Iterator[int]:
    """The trials whose runs went on in this one's, so that its seconds have theirs in them."""
    own = {one.number: one.frozen.user_attrs for one in sweep.trials}
    number = trial.number
    while "continues_at" in own.get(number, {}):
        number = own[number].get("retry_of")
        yield number


def _facts(sweep: Sweep) -> dict[str, Any]:
    given, trials = sweep.attributes, [trial.frozen for trial in sweep.trials]
    begun = [trial.datetime_start for trial in trials if trial.datetime_start]
    ended = [trial.datetime_complete for trial in trials if trial.datetime_complete]
    ways = (
        f"{name}, {'lowest' if sweep.minimised(place) else 'highest'}" for place, name in enumerate(sweep.objectives)
    )
    return {
        "objective": "; ".join(ways),
        "command": given.get("command"),
        "commit": given.get("git_commit"),
        "the same in all trials": " ".join(map(str, given.get("overrides") or [])),
        "from, to": f"{min(begun):%Y-%m-%d %H:%M}, {max(ended):%Y-%m-%d %H:%M}" if begun and ended else None,
        "folder": given.get("sweep_dir") or sweep.folder,
    }


def _space(sweep: Sweep) -> list[tuple[str, str, str]]:
    """What was searched, and where the best trial stands in it."""
    space, best = sweep.attributes.get("space") or {}, sweep.winner.frozen.params if sweep.winner else {}
    names = dict.fromkeys([*space, *sweep.parameters()])
    return [(name, space.get(name, ""), text_of(best[name]) if name in best else "") for name in names]


def _near(sweep: Sweep) -> Near | None:
    error = sweep.winner and sweep.headline.error and sweep.winner.metric(sweep.headline.error)
    if not error or sweep.objectives != [sweep.headline.name]:
        return None
    return Near(sum(abs(trial.values[0] - sweep.winner.values[0]) <= error for trial in sweep.finished) - 1, error)
