"""The page: one HTML file that needs no network, from rows of runs and their curves."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from frontpage.analysis.comparison import Difference
from frontpage.analysis.curves import Point, thinned
from frontpage.analysis.pages.runs.continued import counted_once
from frontpage.analysis.pages.runs.monitors import monitors
from frontpage.analysis.pages.runs.pictures import COLOURS, History, Scale, around, history
from frontpage.analysis.pages.runs.positions import positions
from frontpage.analysis.pages.web_page.parts import Card, Column, duration, last_samples, numeric
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
from frontpage.evaluation.declared import Metric
from frontpage.runs.run import Run

POINTS = 300  # of a curve: more cannot be seen
TITLES = 5  # invented, of each run
PEAK = "peak_memory_bytes"
Curves = Mapping[str, Mapping[str, list[Point]]]  # by run, then by metric


class Glance(NamedTuple):
    """The runs of a headline on one scale, what guessing scores, and how many validation sets they had."""

    headline: Metric
    rows: Sequence[Row]
    x: Scale
    chances: Sequence[str]
    sets: int


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
    rows, measured = ranked(rows), headlines(rows)
    known, memory = ([one for one in rows if one["status"] != "damaged"], [one for one in rows if one.get(PEAK)])
    metrics, names = sorted({name for found in curves.values() for name in found}), [one.name for one in measured]
    finished = [[one for one in rows_of(rows, headline) if one["status"] == "finished"] for headline in measured]
    return rendered(
        "runs/page.html",
        place=place,
        now=f"{datetime.now():%Y-%m-%d %H:%M}",
        large=list(_cards(rows)),
        notices=notices,
        rows=rows,
        colours={one["run"]: at % COLOURS for at, one in enumerate(rows)},
        colours_there_are=COLOURS,
        glances=[_glance(rows_of(rows, one), one) for one in measured],
        columns=_columns(rows, differences),
        best=[found[0] for found in finished if found],
        curves=curves,
        metrics=metrics,
        first=next((name for name in [*names, *metrics] if name in metrics), None),
        positions=positions(rows),
        watched=monitors(rows),
        known=known,
        keys=_keys(known),
        different=differing(known, config_keys(known)),
        memory=memory,
        most=max((max(one[PEAK], one.get("estimated_memory_bytes") or 0) for one in memory), default=1),
        fastest=max((one.get("tokens_per_second") or 0 for one in memory), default=1),
        samples={one["run"]: last_samples(Run(Path(one["directory"])).samples_file, TITLES) for one in rows},
        measured=names,
        searches=[_search(Path(folder), address, rows) for folder, address in studies],
        data={"order": [one["run"] for one in rows], "curves": {run: _packed(found) for run, found in curves.items()}},
    )


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
        error = best.get(headline.error) if headline.error else None
        error = "" if error is None else f" ± {error:.4f}"
        yield Card(f"{best[headline.name]:.4f}{error}", f"{headline.unit or headline.name}, best: {best['run']}")
    statuses = [one["status"] for one in rows]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    yield Card(str(len(rows)), f"runs: {counts}")
    once = counted_once(rows)
    seconds, tokens = (sum(one.get(name) or 0 for one in once) for name in ("seconds", "tokens_seen"))
    yield Card(duration(seconds), f"of training, {tokens / 1e6:,.1f} million tokens")


def _glance(scored: Sequence[Row], headline: Metric) -> Glance:
    ends = [one[headline.name] + 2 * sign * (one.get(headline.error) or 0) for one in scored for sign in (-1, 1)]
    chances = {shown(headline.name, one.get(chance_of(headline.name))) for one in scored} - {""}
    sets = {(one.get("data.validation_titles"), one.get("data.validation_characters")) for one in scored}
    return Glance(headline, scored, around(ends, 0.04), sorted(chances), len(sets))


def _columns(rows: Sequence[Row], differences: Sequence[Difference]) -> list[Column]:
    def column(name: str) -> Column:
        numbers = all(numeric(one.get(name), or_none=True) for one in rows)
        return Column(name, lambda one: one.get(name), lambda one: _with_chance(one, name), "number" if numbers else "")

    columns, paired = [column(name) for name in default_columns(rows)], {str(one.directory): one for one in differences}
    if paired:

        def difference(one: Row) -> float | None:
            return paired[one["directory"]].difference if one["directory"] in paired else None

        def said(one: Row) -> str:
            found = paired.get(one["directory"])
            return f"{found.difference:+.4f} ± {found.error:.4f}" if found and found.error else "best" if found else ""

        columns.insert(4, Column("minus best, paired", difference, said, "number"))
    return columns


def _with_chance(one: Row, name: str) -> str:
    """A cell's words: a value, and what guessing would have scored."""
    value, chance = one.get(name), one.get(chance_of(name))
    said = "" if value is None or chance is None else f" (chance {shown(name, chance)})"
    return f"{shown(name, value)}{said}"


def _keys(known: Sequence[Row]) -> dict[str, list[tuple[str, bool]]]:
    """The keys of configs, with the value of each run, and whether it is what most have or there is no such value."""
    found = {}
    for key in config_keys(known):
        values = [spelled(one[key]) if key in one else "" for one in known]
        most = max(set(values), key=values.count)
        found[key] = [(value, value == most or values.count(most) == 1) for value in values]
    return found


def _search(folder: Path, address: str | None, rows: Sequence[Row]) -> tuple[Path, str | None, int, History | None]:
    """A folder of trials, the address of its own page where it has one, how many it has, and their picture."""
    trials = [one for one in rows if folder.resolve() in Path(one["directory"]).parents]
    return folder, address, len(trials), history(trials)
