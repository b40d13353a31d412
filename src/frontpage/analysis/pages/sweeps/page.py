"""The page: one HTML file that needs no network, from a study, its plots, its winner's experiment and test score."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import plotly.io
from plotly.offline import get_plotlyjs

from frontpage.analysis.pages.sweeps.best import Best
from frontpage.analysis.pages.sweeps.figures import Panel, labelled
from frontpage.analysis.pages.sweeps.sweep import Sweep, SweepTrial, text_of
from frontpage.analysis.pages.sweeps.table import columns_of, number_form, spelled
from frontpage.analysis.pages.sweeps.winner_score import TestScore
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
from frontpage.runs.run import Run

HERE = Path(__file__).parent
NARROW = ("weights-", "distribution")  # panels that share a row
TITLES = 5  # invented by the winner
EARLY = ("trial", "state", "last update reported", "reason")  # headings


def page(
    sweep: Sweep,
    panels: Sequence[Panel],
    best: Best | None,
    lacking: str,
    promote: str,
    scores: Sequence[TestScore],
    notices: Sequence[str],
) -> str:
    """The whole page as text; all that comes from runs is escaped, and known secrets are hidden.

    `best` is the winner's experiment, which the command `promote` writes; without one `lacking` says why.
    """
    figures = {panel.key: json.loads(plotly.io.to_json(panel.figure)) for panel in panels if panel.figure is not None}
    body = [
        _head(sweep, scores),
        *map(warning, notices),
        _about(sweep),
        _best(sweep, best, lacking, promote, scores),
        "<h2>Plots</h2>",
        '<div class="columns">' + "".join(map(_panel, panels)) + "</div>",
        _ended_early(sweep),
        _table(sweep),
    ]
    script = table_script() + (HERE / "page.js").read_text(encoding="utf-8")
    scripts = (
        f"<script>{get_plotlyjs()}</script>",
        f'<script type="application/json" id="figures">{embedded_json(figures)}</script>',
        f"<script>{script}</script>",
    )
    return document(sweep.name, body, scripts)


def _head(sweep: Sweep, scores: Sequence[TestScore]) -> str:
    winner = sweep.winner
    counts = ", ".join(f"{count} {state}" for state, count in sweep.counts.items()) or "no trials yet"
    seconds = sum(trial.record.get("seconds") or 0.0 for trial in sweep.trials)
    shown = []
    for place, name in enumerate(sweep.objectives):
        if winner is None:
            break
        ends = "lowest" if sweep.minimised(place) else "highest"
        what = (
            f"{ends} {labelled(name)}, trial {winner.number}" if place == 0 else f"{labelled(name)} of the same trial"
        )
        shown.append((_with_error(winner, name, winner.values[place]), what))
    if scores:
        kept = scores[-1]
        shown.append((_plus_minus(kept.value, kept.error), f"the same on test titles, trial {kept.trial}"))
    shown.append((str(len(sweep.trials)), f"trials: {counts}"))
    if seconds:
        shown.append((duration(seconds), "of training, all trials together"))
    search = f", search {sweep.attributes['search']}" if sweep.attributes.get("search") else ""
    return (
        f'<h1>{text(sweep.name)}</h1><p class="soft">A hyperparameter search{text(search)}. '
        f"This page was written {datetime.now():%Y-%m-%d %H:%M}.</p>" + cards(shown)
    )


def _with_error(trial: SweepTrial, name: str, value: float) -> str:
    return _plus_minus(value, trial.metric(f"{name}_se"))


def _plus_minus(value: float, error: float | None) -> str:
    return spelled(value, number_form(value)) + (f" ± {error:.4f}" if error else "")


def _about(sweep: Sweep) -> str:
    given, trials = sweep.attributes, [trial.frozen for trial in sweep.trials]
    begun = [trial.datetime_start for trial in trials if trial.datetime_start]
    ended = [trial.datetime_complete for trial in trials if trial.datetime_complete]
    ways = (
        f"{name}, {'lowest' if sweep.minimised(place) else 'highest'}" for place, name in enumerate(sweep.objectives)
    )
    rows: dict[str, object] = {
        "objective": "; ".join(ways),
        "command": given.get("command"),
        "commit": given.get("git_commit"),
        "the same in all trials": " ".join(map(str, given.get("overrides") or [])),
        "from, to": f"{min(begun):%Y-%m-%d %H:%M}, {max(ended):%Y-%m-%d %H:%M}" if begun and ended else None,
        "folder": given.get("sweep_dir") or sweep.folder,
    }
    shown = (f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in rows.items() if value)
    return f"<h2>The study</h2><dl>{''.join(shown)}</dl>{_space(sweep)}"


def _space(sweep: Sweep) -> str:
    """What was searched, and where the best trial stands in it."""
    space, best = sweep.attributes.get("space") or {}, sweep.winner.frozen.params if sweep.winner else {}
    names = dict.fromkeys([*space, *sweep.parameters()])
    if not names:
        return ""
    rows = (
        f"<tr><td>{text(name)}</td><td>{text(space.get(name, ''))}</td>"
        f"<td><b>{text(text_of(best[name]) if name in best else '')}</b></td></tr>"
        for name in names
    )
    heads = "<th>parameter</th><th>searched</th><th>best trial</th>"
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _best(sweep: Sweep, best: Best | None, lacking: str, promote: str, scores: Sequence[TestScore]) -> str:
    winner = sweep.winner
    if winner is None:
        return "<h2>The best trial</h2><p class='lacking'>No trial has finished yet.</p>"
    parts = [f"<h2>The best trial: {winner.number}</h2>"]
    error = winner.metric(sweep.headline.error) if sweep.headline.error else None
    if error and sweep.objectives == [sweep.headline.name]:
        near = sum(abs(trial.values[0] - winner.values[0]) <= error for trial in sweep.finished) - 1
        parts.append(
            f"<p>{near} other finished trial{'s lie' if near != 1 else ' lies'} within its standard error"
            f" ({error:.4f}). It was chosen by this value, which is therefore"
            " a little too good; what counts is a test set.</p>"
        )
    parts += [_score(score, len(scores)) for score in scores]
    if not scores:
        parts.append("<p class='soft'>Not scored on test titles yet: make sweep-report with TEST=titles.parquet.</p>")
    if len(sweep.objectives) > 1:
        parts.append("<h3>Trials that no other one beats</h3>" + _rows(sweep, sweep.pareto, "pareto-table"))
    if best is None:
        parts.append(f"<p class='lacking'>No experiment can be written: {text(lacking)}</p>")
    else:
        parts.append(
            f"<h3>To train it again</h3><pre>{text(best.command)}</pre>"
            f"<h3>As an experiment</h3><p class='caption'>Written by <code>{text(promote)}</code></p>"
            f"<pre>{text(best.text)}</pre>"
        )
    if winner.directory:
        parts.append(f"<p class='soft'>Its run: <code>{text(winner.directory)}</code></p>")
        titles = last_samples(Run(winner.directory).samples_file, TITLES)
        if titles:
            parts.append("<h3>Titles it invented</h3><pre>" + "\n".join(map(text, titles)) + "</pre>")
    return "".join(parts)


def _score(score: TestScore, count: int) -> str:
    seen = "unknown" if score.trained_on is None else f"{score.trained_on:,}"
    chosen = "unknown" if score.chosen_on is None else f"{score.chosen_on:,}"
    times = "" if count == 1 else f" <b>One of {count} scores: later choices knew the earlier ones.</b>"
    return (
        f"<p>Test: {text(_plus_minus(score.value, score.error))} nats a character, trial {score.trial}, on"
        f" {score.titles:,} titles of <code>{text(score.source)}</code> ({text(score.when)}); of these it was"
        f" trained on {seen} and validated on {chosen}, which are left out.{times}</p>"
    )


def _panel(panel: Panel) -> str:
    wide = "" if panel.key.startswith(NARROW) else ' class="wide"'
    heading = f"<section{wide}><h3>{text(panel.title)}</h3>"
    if panel.figure is None:
        return f'{heading}<p class="lacking">Not drawn: {text(panel.lacking)}.</p></section>'
    height = panel.figure.layout.height
    return (
        f'{heading}<p class="caption">{text(panel.caption)}</p>'
        f'<div id="figure-{panel.key}" class="figure" style="height:{height}px"></div></section>'
    )


def _ended_early(sweep: Sweep) -> str:
    shown = [trial for trial in sweep.trials if trial.reason and trial.state != "running"]
    heading = "<h2>Pruned, failed and shortened trials</h2>"
    if not shown:
        return f"{heading}<p>None.</p>"
    body = (
        row(
            trial.number == (sweep.winner and sweep.winner.number),
            [
                (trial.number, "number"),
                (trial.state, ""),
                (max(trial.curve, default=""), "number"),
                (trial.reason, "reason"),
            ],
        )
        for trial in shown
    )
    return heading + sortable(EARLY, (EARLY[0], EARLY[2]), body, "early-table")


def _table(sweep: Sweep) -> str:
    return f"<h2>All trials</h2>{_rows(sweep, sweep.trials, 'trials-table')}"


def _rows(sweep: Sweep, trials: Iterable[SweepTrial], key: str) -> str:
    columns = columns_of(sweep)
    numbers = {one.name for one in columns if all(numeric(one.value(trial), True) for trial in sweep.trials)}
    body = (
        row(
            trial.number == (sweep.winner and sweep.winner.number),
            [(value, "number" if numeric(value) else "", spelled(value, one.form)) for one, value in cells],
        )
        for trial in trials
        for cells in [[(one, one.value(trial)) for one in columns]]
    )
    return sortable([one.name for one in columns], numbers, body, key)
