"""A search as a picture that needs no script: every trial's headline by its number, and the best so far."""

from collections.abc import Sequence
from pathlib import Path

from frontpage.analysis.pages.web_page.parts import text
from frontpage.analysis.table import Row, config_keys, differing, headlines, rows_of, spelled

WIDTH, HEIGHT = 1160, 220
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 14, 40  # pixels around the points
NUMBERS = 12  # at most so many stand under the points


def history(rows: Sequence[Row]) -> str:
    """The picture for the runs of one search, whose folders are named by the numbers of their trials."""
    numbered = [one for one in rows if Path(one["directory"]).name.isdecimal()]
    if not headlines(numbered):
        return "<p class='lacking'>Not drawn: no trial has been validated.</p>"
    headline = headlines(numbered)[0]  # trials of a search share it
    scored = [(int(Path(one["directory"]).name), one[headline.name], one) for one in rows_of(numbered, headline)]
    trials = sorted(scored, key=lambda trial: trial[0])
    values = [value for _, value, _ in trials]
    low, high, most = min(values), max(values), max(trials[-1][0], 1)
    room = (high - low) * 0.06 or 0.01

    def x(number: int) -> float:
        return LEFT + number / most * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high + room - value) / (high - low + 2 * room) * (HEIGHT - TOP - BOTTOM)

    keys = differing([one for *_, one in trials], config_keys([one for *_, one in trials]))
    parts = []
    for value in dict.fromkeys((low, high)):
        parts.append(f'<line class="guide" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4f}</text>')
    for number in range(0, most + 1, -(-(most + 1) // NUMBERS)):
        parts.append(f'<text x="{x(number):.1f}" y="{HEIGHT - 22}" text-anchor="middle" class="small">{number}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 4}" text-anchor="middle" class="small">trial</text>')
    path, best = "", None
    for number, value, one in trials:
        if one["status"] == "finished" and (best is None or not headline.as_good(best, value)):
            path += f"H{x(number):.1f}V{y(value):.1f}" if path else f"M{x(number):.1f} {y(value):.1f}"
            best = value
    parts.append(f'<path class="best" d="{path}H{x(most):.1f}"/>' if path else "")
    for number, value, one in trials:
        kind = "" if one["status"] == "finished" else ' class="ended"'
        settings = " ".join(f"{key}={spelled(one.get(key))}" for key in keys)
        said = text(f"trial {number}, {one['status']}: {value:.4f} {settings}")
        parts.append(f'<circle{kind} cx="{x(number):.1f}" cy="{y(value):.1f}" r="5"><title>{said}</title></circle>')
    return (
        f'<div class="pictured"><svg class="picture history" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{text(headline.name)} of every trial">{"".join(parts)}</svg></div>'
    )
