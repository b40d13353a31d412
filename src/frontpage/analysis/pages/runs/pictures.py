"""Pictures that need no script, as plain values: where points lie, and what is said of them; pictures.html draws them.

They are no plotly figures as those of a search: a page of runs is some tens of kB and is sent by mail.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from frontpage.analysis.table import Row, config_keys, differing, headlines, rows_of, spelled
from frontpage.evaluation.declared import Metric

TOP, BOTTOM = 14, 40  # pixels of a chart above its points and below them; across it takes what there is
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
    """The frame of points: scales, what stands beside it and under it, the name of the axis below, what is drawn."""

    x: Scale
    y: Scale
    height: float
    guides: Sequence[tuple[float, str]]
    numbers: Sequence[int]
    across: str
    what: str


class Bar(NamedTuple):
    """A run's headline with two standard errors."""

    run: str
    colour: int
    value: float
    error: float


class Bars(NamedTuple):
    """A bar for each run."""

    bars: Sequence[Bar]
    x: Scale
    what: str


def error_bars(drawn: Sequence[Row], headline: Metric, colours: dict[str, int]) -> Bars:
    """A point and two standard errors to either side for every run of a headline, in the order given."""
    bars = [
        Bar(one["run"], colours[one["run"]], one[headline.name], 2 * (one.get(headline.error) or 0.0)) for one in drawn
    ]
    ends = [end for bar in bars for end in (bar.value - bar.error, bar.value + bar.error)]
    return Bars(bars, around(ends, 0.04), f"{headline.name} of every run")


class Machine(NamedTuple):
    """What a run asked of its machine; estimate and speed are None where they are not known."""

    run: str
    measured: int
    estimated: int | None
    speed: float | None


class Memory(NamedTuple):
    """Bars of bytes, and of tokens a second beside them."""

    runs: Sequence[Machine]
    size: Scale
    speed: Scale


def memory_bars(rows: Sequence[Row]) -> Memory | None:
    """Estimated and measured memory of every run, and its speed; None where none has measured any."""
    names = "peak_memory_bytes", "estimated_memory_bytes", "tokens_per_second"
    runs = [Machine(one["run"], *(one.get(name) or None for name in names)) for one in rows]
    runs = [one for one in runs if one.measured]
    if not runs:
        return None
    most = max(max(one.measured, one.estimated or 0) for one in runs)
    return Memory(runs, Scale(0, most), Scale(0, max(one.speed or 0 for one in runs) or 1))


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
    last = max(trials[-1].number, 1)
    values, height = [trial.value for trial in trials], 220
    chart = Chart(
        x=Scale(0, last),
        y=around(values, 0.06, height - BOTTOM, TOP),
        height=height,
        guides=[(value, f"{value:.4f}") for value in dict.fromkeys((min(values), max(values)))],
        numbers=range(0, last + 1, -(-(last + 1) // MOST_NUMBERS)),
        across="trial",
        what=f"{headline.name} of every trial",
    )
    return History(chart, trials, best)


class Line(NamedTuple):
    """A named line through points (place, value), in order; a baseline is dashed."""

    name: str
    points: Sequence[tuple[int, float]]
    baseline: bool = False
    colour: int = 0


class Lines(NamedTuple):
    """Lines, and the same ones in the order in which they end, from above, for their names."""

    chart: Chart
    lines: Sequence[Line]
    named: Sequence[Line]


def lines_of(lines: Sequence[Line], across: str, what: str) -> Lines | None:
    """The lines that have points; `across` names the axis below, `what` all that is drawn. None where none has any."""
    drawn = [one._replace(colour=place % COLOURS) for place, one in enumerate(lines) if one.points]
    if not drawn:
        return None
    places = sorted({place for one in drawn for place, _ in one.points})
    values, height = [0.0, *(value for one in drawn for _, value in one.points)], 240
    chart = Chart(
        x=Scale(places[0], max(places[-1], places[0] + 1)),
        y=around(values, 0.05, height - BOTTOM, TOP),
        height=height,
        guides=[(value, f"{value:.4g}") for value in dict.fromkeys((min(values), max(values)))],
        numbers=places[:: -(-len(places) // MOST_NUMBERS)],
        across=across,
        what=what,
    )
    return Lines(chart, drawn, sorted(drawn, key=lambda one: -one.points[-1][1]))
