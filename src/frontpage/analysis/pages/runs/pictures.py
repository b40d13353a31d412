"""Pictures that need no script, as plain values: where points lie, and what is said of them; pictures.html draws them.

They are no plotly figures as those of a search: a page of runs is some tens of kB and is sent by mail.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from frontpage.analysis.table import Row, config_keys, differing, headlines, rows_of, spelled

HEIGHT, TOP, BOTTOM = 230, 14, 40  # pixels of a chart, above its points and below them; across it takes what there is
MOST_NUMBERS = 12  # stand under the points of a chart at most
COLOURS = 10


class Scale(NamedTuple):
    """From values to a place on the page, by default to a percentage of its width."""

    low: float
    high: float
    start: float = 0
    end: float = 100

    def __call__(self, value: float) -> str:
        """The place of a value."""
        return f"{self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start):.1f}"


def around(values: Iterable[float], share: float, start: float = 0, end: float = 100) -> Scale:
    """A scale of all the values with room for a `share` of their range beside them."""
    found = list(values)
    low, high = min(found), max(found)
    room = (high - low) * share or 0.01
    return Scale(low - room, high + room, start, end)


class Chart(NamedTuple):
    """The frame of points: scales, numbers under it, the name of the axis below, what is drawn."""

    x: Scale
    y: Scale
    height: float
    guides: Mapping[float, str]
    numbers: Sequence[int]
    across: str
    what: str
    names: Mapping[int, str] = {}

    def named(self, place: int) -> str:
        """The words for a place on the axis below: its number, where it has no others."""
        return self.names.get(place, str(place))


def chart(x: Scale, values: Sequence[float], form: str, numbers: Sequence[int], across: str, what: str) -> Chart:
    """A frame for the values, whose ends stand beside it in this form."""
    guides = {value: format(value, form) for value in (min(values), max(values))}
    return Chart(x, around(values, 0.05, HEIGHT - BOTTOM, TOP), HEIGHT, guides, numbers, across, what)


class Trial(NamedTuple):
    """A trial of a search as a point."""

    number: int
    value: float
    finished: bool
    said: str


class History(NamedTuple):
    """The trials of a search, and the (number, value) where the best so far has changed."""

    chart: Chart
    trials: Sequence[Trial]
    best: Sequence[tuple[int, float]]


def history(rows: Sequence[Row]) -> History | None:
    """The runs of one search, whose folders are named by the numbers of their trials; None where none has a value."""
    numbered = [one for one in rows if Path(one["directory"]).name.isdecimal()]
    if not headlines(numbered):
        return None
    headline = headlines(numbered)[0]  # trials of a search share it
    scored = sorted(rows_of(numbered, headline), key=lambda one: int(Path(one["directory"]).name))
    keys, trials, best = differing(scored, config_keys(scored)), [], []
    for one in scored:
        number, value, finished = int(Path(one["directory"]).name), one[headline.name], one["status"] == "finished"
        settings = " ".join(f"{key}={spelled(one.get(key))}" for key in keys)
        trials.append(Trial(number, value, finished, f"trial {number}, {one['status']}: {value:.4f} {settings}"))
        if finished and (not best or not headline.as_good(best[-1][1], value)):
            best.append((number, value))
    last, values = max(trials[-1].number, 1), [trial.value for trial in trials]
    numbers = range(0, last + 1, -(-(last + 1) // MOST_NUMBERS))
    frame = chart(Scale(0, last), values, ".4f", numbers, "trial", f"{headline.name} of every trial")
    return History(frame, trials, best)


class Line(NamedTuple):
    """A named line through points (place, value), in order; a baseline is dashed."""

    name: str
    points: Sequence[tuple[int, float]]
    baseline: bool = False
    colour: int = 0

    @property
    def end(self) -> float:
        """Its last value."""
        return self.points[-1][1]


class Lines(NamedTuple):
    """Lines within their frame."""

    chart: Chart
    lines: Sequence[Line]


def lines_of(
    lines: Sequence[Line], across: str, what: str, from_0: bool = True, names: Mapping[int, str] | None = None
) -> Lines | None:
    """The lines that have points, on a scale `from_0` or from their least value; None where none has any.

    `across` names the axis below, `names` the places on it, `what` all that is drawn.
    """
    drawn = [one._replace(colour=place % COLOURS) for place, one in enumerate(lines) if one.points]
    if not drawn:
        return None
    places = sorted({place for one in drawn for place, _ in one.points})
    values = [*([0.0] if from_0 else []), *(value for one in drawn for _, value in one.points)]
    numbers, x = places[:: -(-len(places) // MOST_NUMBERS)], Scale(places[0], max(places[-1], places[0] + 1))
    return Lines(chart(x, values, ".4g", numbers, across, what)._replace(names=names or {}), drawn)
