"""The page: one HTML file that needs no network, from rows of runs and their curves."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from frontpage.analysis.comparison import Difference
from frontpage.analysis.curves import Point, thinned
from frontpage.analysis.pages.runs.bars import error_bars, memory_bars
from frontpage.analysis.pages.runs.history import history
from frontpage.analysis.pages.runs.monitors import monitors
from frontpage.analysis.pages.runs.positions import positions
from frontpage.analysis.pages.web_page.parts import (
    cards,
    document,
    duration,
    embedded_json,
    last_samples,
    numeric,
    row,
    sortable,
    table_script,
    text,
    warning,
)
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

HERE = Path(__file__).parent
POINTS = 300  # of a curve: more cannot be seen
TITLES = 5  # invented, of each run
COLOURED = 10  # runs whose curves are shown at first: as many as there are colours
Curves = Mapping[str, Mapping[str, list[Point]]]  # by run, then by metric


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
    colours = {one["run"]: place % COLOURED for place, one in enumerate(rows)}
    body = [
        _head(rows, place),
        *map(warning, notices),
        "<h2>At a glance</h2>",
        _glance(rows, colours),
        "<h2>All runs</h2><p class='caption'>A click on a heading sorts; lower is better for every loss. The legacy"
        " val/mainrun_loss means nothing without its coverage (docs/metrics.md).</p>",
        _table(rows, differences, colours),
        _curves(rows, curves, colours),
        positions(rows),
        monitors(rows, {run: _swatch(colour) for run, colour in colours.items()}),
        "<h2>Configurations, key by key</h2>",
        _configurations(rows),
        "<h2>Memory and speed</h2>",
        memory_bars(rows),
        "<h2>Titles they invented</h2>",
        _samples(rows, colours),
        _studies(studies, rows),
    ]
    data = {
        "order": [one["run"] for one in rows],
        "curves": {run: {name: _packed(points) for name, points in found.items()} for run, found in curves.items()},
    }
    scripts = (
        f'<script type="application/json" id="runs">{embedded_json(data)}</script>',
        f"<script>{table_script()}{(HERE / 'page.js').read_text(encoding='utf-8')}</script>",
    )
    return document(f"Runs in {place}", body, scripts, (HERE / "page.css").read_text(encoding="utf-8"))


def _packed(points: list[Point]) -> list[list[float]]:
    return [
        [one.update, round(one.tokens), round(one.seconds, 2), float(f"{one.value:.6g}")]
        for one in thinned(points, POINTS)
    ]


def _head(rows: Sequence[Row], place: str) -> str:
    statuses = {status: sum(one["status"] == status for one in rows) for status in dict.fromkeys(_status(rows))}
    counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
    seconds, tokens = (sum(one.get(name) or 0 for one in rows) for name in ("seconds", "tokens_seen"))
    large = [_best(rows_of(rows, one)[0], one) for one in headlines(rows)]
    large += [
        (str(len(rows)), f"runs: {counts}"),
        (duration(seconds), f"of training, {tokens / 1e6:,.1f} million tokens"),
    ]
    return (
        f"<h1>Runs in {text(place)}</h1><p class='soft'>This page was written {datetime.now():%Y-%m-%d %H:%M}.</p>"
        + cards(large)
    )


def _best(best: Row, headline: Metric) -> tuple[str, str]:
    error = f" ± {best.get(headline.error) or 0:.4f}" if headline.error else ""
    return f"{best[headline.name]:.4f}{error}", f"{headline.unit or headline.name}, best: {best['run']}"


def _status(rows: Sequence[Row]) -> list[str]:
    return [one["status"] for one in rows]


def _swatch(colour: int) -> str:
    return f'<i class="swatch c{colour}"></i>'


def _glance(rows: Sequence[Row], colours: Mapping[str, int]) -> str:
    parts = [_of_headline(rows_of(rows, one), one, colours) for one in headlines(rows)]
    return "".join(parts) or error_bars([], None, colours)


def _of_headline(scored: Sequence[Row], headline: Metric, colours: Mapping[str, int]) -> str:
    sets = {(one.get("data.validation_titles"), one.get("data.validation_characters")) for one in scored}
    what = headline.unit.capitalize() if headline.unit else text(headline.name)
    caption = f"{what} on the whole validation set"
    caption += "; the bars are two standard errors to either side." if headline.error else "."
    if headline.better == HIGHER:
        caption += " Higher is better."
    chances = {shown(headline.name, one.get(chance_of(headline.name))) for one in scored} - {""}
    if chances:
        caption += f" Guessing scores {text(' or '.join(sorted(chances)))}."
    if len(sets) > 1:
        caption += (
            " <b>Not all runs were validated on the same titles</b> (validation_titles, validation_characters): a"
            f" {'larger' if headline.better == HIGHER else 'smaller'} number means a better model only between runs"
            " that were."
        )
    return f"<p class='caption'>{caption}</p>{error_bars(scored, headline, colours)}"


def _table(rows: Sequence[Row], differences: Sequence[Difference], colours: Mapping[str, int]) -> str:
    paired = {str(one.directory): one for one in differences}
    columns = default_columns(rows)
    numbers = {name for name in columns if all(numeric(one.get(name), True) for one in rows)}
    body = []
    best = [
        next((one["run"] for one in rows_of(rows, headline) if one["status"] == "finished"), None)
        for headline in headlines(rows)
    ]
    for one in rows:
        cells = [(one.get(name), "number" if name in numbers else "", _with_chance(one, name)) for name in columns]
        if paired:
            found = paired.get(one["directory"])
            said = f"{found.difference:+.4f} ± {found.error:.4f}" if found and found.error else "best" if found else ""
            cells.insert(4, (found and found.difference, "number", said))
        body.append(row(one["run"] in best, cells))
    if paired:
        columns, numbers = [*columns[:4], "minus best, paired", *columns[4:]], numbers | {"minus best, paired"}
    return sortable(columns, numbers, body, "runs-table")


def _with_chance(one: Row, name: str) -> str:
    """A cell's words: a value, and what guessing would have scored."""
    value, chance = one.get(name), one.get(chance_of(name))
    said = "" if value is None or chance is None else f" (chance {shown(name, chance)})"
    return f"{shown(name, value)}{said}"


def _curves(rows: Sequence[Row], curves: Curves, colours: Mapping[str, int]) -> str:
    if not any(curves.values()):
        return "<h2>Curves</h2><p class='lacking'>Not drawn: no run has logged anything yet.</p>"
    names = sorted({name for found in curves.values() for name in found})
    own = [one.name for one in headlines(rows)]
    first = next((name for name in own if name in names), names[0])
    metrics = "".join(f"<option{' selected' if name == first else ''}>{text(name)}</option>" for name in names)
    boxes = "".join(
        f'<label>{_swatch(colours[one["run"]])}<input type="checkbox" data-run="{place}"'
        f"{' checked' if place < COLOURED else ''}> {text(one['run'])}</label>"
        for place, one in enumerate(rows)
        if curves.get(one["run"])
    )
    return (
        "<h2>Curves</h2><div class='choices'>"
        f"<label>metric <select id='metric'>{metrics}</select></label>"
        "<label>with <select id='second'><option>nothing</option>"
        + metrics.replace(" selected", "")
        + "</select></label>"
        "<label>against <select id='against'><option value='0'>optimizer updates</option><option value='1'>tokens"
        "</option><option value='2'>seconds</option></select></label>"
        "<label><input type='checkbox' id='logarithmic'> logarithmic</label>"
        "<label><input type='checkbox' id='smooth'> smooth</label>"
        "<button id='none'>no runs</button><button id='every'>all runs</button></div>"
        f"<div class='plot'><svg id='curves' role='img' aria-label='curves of the chosen runs'></svg>"
        f"<div id='readout' class='soft'></div></div><div class='legend' id='legend'>{boxes}</div>"
    )


def _configurations(rows: Sequence[Row]) -> str:
    known = [one for one in rows if one["status"] != "damaged"]
    keys = config_keys(known)
    different = {*differing(known, keys)}
    if not keys:
        return "<p class='lacking'>No run has a configuration.</p>"
    body = []
    for key in keys:
        values = [spelled(one[key]) if key in one else "" for one in known]
        most = max(set(values), key=values.count)
        usual = values.count(most) > 1  # else there is nothing that most runs have
        cells = "".join(
            f"<td{' class=other' if usual and value != most else ''}>{text(value)}</td>" for value in values
        )
        body.append(f"<tr{'' if key in different else ' class=same'}><th scope='row'>{text(key)}</th>{cells}</tr>")
    heads = "".join(f"<th scope='col'>{text(one['run'])}</th>" for one in known)
    told = f"{len(different)} of {len(keys)} keys differ; what most runs do not have is marked."
    if len(known) == 1:
        told = f"{len(keys)} keys; with another run beside it, this shows what differs."
    elif not different:
        told = f"None of the {len(keys)} keys differs."
    every, kind = (" checked", "") if not different else ("", "different")
    return (
        f"<p class='caption'>{told}"
        f" <label><input type='checkbox' id='all-keys'{every}> show those that do not differ, too</label></p>"
        f"<div class='scroll'><table id='configurations' class='{kind}'><thead><tr><th>key</th>{heads}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _samples(rows: Sequence[Row], colours: Mapping[str, int]) -> str:
    parts = []
    for one in rows:
        titles = last_samples(Run(Path(one["directory"])).samples_file, TITLES)
        if titles:
            inside = "\n".join(map(text, titles))
            parts.append(
                f"<section><h3>{_swatch(colours[one['run']])} {text(one['run'])}</h3><pre>{inside}</pre></section>"
            )
    return f"<div class='columns'>{''.join(parts)}</div>" if parts else "<p class='lacking'>No run has written any.</p>"


def _studies(studies: Sequence[tuple[str, str | None]], rows: Sequence[Row]) -> str:
    parts = []
    for folder, address in studies:
        trials = [one for one in rows if Path(folder).resolve() in Path(one["directory"]).parents]
        whole = (
            f"<a href='{text(address)}'>the whole page of this search</a>"
            if address
            else f"its whole page is written by <code>make sweep-report STUDY={text(folder)}</code>"
        )
        parts.append(f"<h3>{text(folder)}</h3><p class='caption'>{len(trials)} trials; {whole}</p>{history(trials)}")
    if not parts:
        return ""
    measured = " or ".join(text(one.name) for one in headlines(rows)) or "headline"
    caption = (
        f"Each point is a trial, its {measured} over its number (pointing at it shows what it was); orange: not"
        " finished, most often pruned. The line is the best of those that finished so far."
    )
    return f"<h2>Searches</h2><p class='caption'>{caption}</p><div id='studies'>{''.join(parts)}</div>"
