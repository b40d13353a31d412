"""The page: one HTML file that needs no network, from rows of runs and their curves."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from frontpage.analysis.comparison import Difference
from frontpage.analysis.curves import Point, thinned
from frontpage.analysis.pages.runs.monitors import monitors
from frontpage.analysis.pages.runs.pictures import COLOURS, Bars, History, error_bars, history, memory_bars
from frontpage.analysis.pages.web_page.parts import Card, Cell, Table, TableRow, duration, last_samples, numeric
from frontpage.analysis.pages.web_page.render import rendered
from frontpage.analysis.table import (
    Row,
    chance_of,
    config_keys,
    default_columns,
    differing,
    headlines,
    ranked,
    rows_of,
    shown,
    spelled,
)
from frontpage.evaluation.declared import HIGHER, Metric
from frontpage.runs.run import Run

POINTS = 300  # of a curve: more cannot be seen
TITLES = 5  # invented, of each run
PAIRED = "minus best, paired"  # a heading
Curves = Mapping[str, Mapping[str, list[Point]]]  # by run, then by metric


class ShownRun(NamedTuple):
    """A run beside its curves and its titles; at first those are ticked that have a colour of their own."""

    place: int
    name: str
    curves: bool
    samples: Sequence[str]

    @property
    def colour(self) -> int:
        """The number of its colour."""
        return self.place % COLOURS

    @property
    def ticked(self) -> bool:
        """Whether no run above it has its colour."""
        return self.place < COLOURS


class Glance(NamedTuple):
    """The runs of a headline, and how it is read; `sets` counts the validation sets."""

    what: str
    errors: bool
    higher: bool
    chances: Sequence[str]
    sets: int
    picture: Bars


class ConfigRow(NamedTuple):
    """A key with its value in each run, and the value that most have, where several have it."""

    key: str
    same: bool
    values: Sequence[str]
    usual: str | None


class Configurations(NamedTuple):
    """Keys over runs; `different` counts the keys that differ."""

    runs: Sequence[str]
    rows: Sequence[ConfigRow]
    different: int


class Search(NamedTuple):
    """A folder of trials, with the address of its own page where it has one."""

    folder: str
    address: str | None
    trials: int
    picture: History | None


def page(
    rows: Sequence[Row],
    curves: Curves,
    differences: Sequence[Difference],
    studies: Sequence[tuple[str, str | None]],
    place: str,
    notices: Sequence[str],
) -> str:
    """The whole page as text; all that comes from runs is escaped, and known secrets are hidden.

    `differences` are empty where runs were not compared by title; `studies` are folders of sweeps, each with the
    address of its own page where there is one; `place` is what was asked for.
    """
    rows = ranked(rows)
    runs = [
        ShownRun(place, one["run"], bool(curves.get(one["run"])), last_samples(_samples_of(one), TITLES))
        for place, one in enumerate(rows)
    ]
    colours, measured = {one.name: one.colour for one in runs}, [one.name for one in headlines(rows)]
    metrics = sorted({name for found in curves.values() for name in found})
    return rendered(
        "runs/page.html",
        place=place,
        now=f"{datetime.now():%Y-%m-%d %H:%M}",
        large=list(_cards(rows)),
        notices=notices,
        glances=[_glance(rows_of(rows, one), one, colours) for one in headlines(rows)],
        table=_table(rows, differences),
        metrics=metrics,
        first=next((name for name in [*measured, *metrics] if name in metrics), None),
        runs=runs,
        watched=monitors(rows, colours),
        configurations=_configurations([one for one in rows if one["status"] != "damaged"]),
        memory=memory_bars(rows),
        measured=measured,
        searches=[_search(Path(folder), address, rows) for folder, address in studies],
        data={"order": [one.name for one in runs], "curves": {run: _packed(found) for run, found in curves.items()}},
    )


def _samples_of(one: Row) -> Path:
    return Run(Path(one["directory"])).samples_file


def _packed(curves: Mapping[str, list[Point]]) -> dict[str, list[list[float]]]:
    return {
        name: [
            [one.update, round(one.tokens), round(one.seconds, 2), float(f"{one.value:.6g}")]
            for one in thinned(points, POINTS)
        ]
        for name, points in curves.items()
    }


def _cards(rows: Sequence[Row]) -> Iterator[Card]:
    for headline in headlines(rows):
        best = rows_of(rows, headline)[0]
        error = f" ± {best.get(headline.error) or 0:.4f}" if headline.error else ""
        yield Card(f"{best[headline.name]:.4f}{error}", f"{headline.unit or headline.name}, best: {best['run']}")
    statuses = [one["status"] for one in rows]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    yield Card(str(len(rows)), f"runs: {counts}")
    seconds, tokens = (sum(one.get(name) or 0 for one in rows) for name in ("seconds", "tokens_seen"))
    yield Card(duration(seconds), f"of training, {tokens / 1e6:,.1f} million tokens")


def _glance(scored: Sequence[Row], headline: Metric, colours: dict[str, int]) -> Glance:
    return Glance(
        what=headline.unit.capitalize() if headline.unit else headline.name,
        errors=headline.error is not None,
        higher=headline.better == HIGHER,
        chances=sorted({shown(headline.name, one.get(chance_of(headline.name))) for one in scored} - {""}),
        sets=len({(one.get("data.validation_titles"), one.get("data.validation_characters")) for one in scored}),
        picture=error_bars(scored, headline, colours),
    )


def _table(rows: Sequence[Row], differences: Sequence[Difference]) -> Table:
    paired = {str(one.directory): one for one in differences}
    columns = default_columns(rows)
    numbers = {name for name in columns if all(numeric(one.get(name), True) for one in rows)} | {PAIRED}
    best = [
        next((one["run"] for one in rows_of(rows, headline) if one["status"] == "finished"), None)
        for headline in headlines(rows)
    ]
    body = []
    for one in rows:
        cells = [Cell(one.get(name), _with_chance(one, name), "number" if name in numbers else "") for name in columns]
        if paired:
            found = paired.get(one["directory"])
            said = f"{found.difference:+.4f} ± {found.error:.4f}" if found and found.error else "best" if found else ""
            cells.insert(4, Cell(found and found.difference, said, "number"))
        body.append(TableRow(one["run"] in best, cells))
    return Table("runs-table", [*columns[:4], *[PAIRED] * bool(paired), *columns[4:]], numbers, body)


def _with_chance(one: Row, name: str) -> str:
    """A cell's words: a value, and what guessing would have scored."""
    value, chance = one.get(name), one.get(chance_of(name))
    said = "" if value is None or chance is None else f" (chance {shown(name, chance)})"
    return f"{shown(name, value)}{said}"


def _configurations(known: Sequence[Row]) -> Configurations:
    keys = config_keys(known)
    different, rows = {*differing(known, keys)}, []
    for key in keys:
        values = [spelled(one[key]) if key in one else "" for one in known]
        most = max(set(values), key=values.count)
        rows.append(ConfigRow(key, key not in different, values, most if values.count(most) > 1 else None))
    return Configurations([one["run"] for one in known], rows, len(different))


def _search(folder: Path, address: str | None, rows: Sequence[Row]) -> Search:
    trials = [one for one in rows if folder.resolve() in Path(one["directory"]).parents]
    return Search(str(folder), address, len(trials), history(trials))
