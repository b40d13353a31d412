"""Two pictures that need no script: the headline of every run with its error, and memory estimated beside measured."""

from collections.abc import Mapping, Sequence

from frontpage.analysis.pages.web_page.parts import text
from frontpage.analysis.table import Row
from frontpage.evaluation.declared import Metric

GIB = 2**30
LEFT, RIGHT, LINE = 270, 90, 26  # pixels: names, numbers, height of a run
WIDTH = 1160


def error_bars(drawn: Sequence[Row], headline: Metric | None, colours: Mapping[str, int]) -> str:
    """A point and two standard errors to either side for every run of a headline, in the order given."""
    if not drawn:
        return "<p class='lacking'>Not drawn: no run has been validated.</p>"
    errors = [2 * (one.get(headline.error) or 0.0) for one in drawn]
    low = min(one[headline.name] - error for one, error in zip(drawn, errors, strict=True))
    high = max(one[headline.name] + error for one, error in zip(drawn, errors, strict=True))
    room = (high - low) * 0.04 or 0.01
    low, high = low - room, high + room

    def at(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = []
    for place, (one, error) in enumerate(zip(drawn, errors, strict=True)):
        y, value, name = place * LINE + LINE / 2, one[headline.name], one["run"]
        colour, ends = f"c{colours[name]}", f'x1="{at(value - error):.1f}" x2="{at(value + error):.1f}"'
        parts.append(
            f'<line class="guide" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{text(_short(name))}</text>'
            f'<line class="bar {colour}" {ends} y1="{y}" y2="{y}"/>'
            f'<circle class="{colour}" cx="{at(value):.1f}" cy="{y}" r="5"/>'
            f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4}">{value:.4f}</text>'
        )
    return _svg(parts, len(drawn) * LINE, f"{text(headline.name)} of every run")


def memory_bars(rows: Sequence[Row]) -> str:
    """Estimated and measured memory of every run, and its speed."""
    drawn = [one for one in rows if one.get("peak_memory_bytes")]
    if not drawn:
        return "<p class='lacking'>Not drawn: no run has measured its memory.</p>"
    most = max(max(one["peak_memory_bytes"], one.get("estimated_memory_bytes") or 0) for one in drawn)
    fastest = max(one.get("tokens_per_second") or 0 for one in drawn) or 1
    split = LEFT + (WIDTH - LEFT) * 0.5
    wide, quick = split - LEFT - RIGHT, WIDTH - split - RIGHT
    height, parts = LINE + 12, []
    for place, one in enumerate(drawn):
        y, measured, estimated = place * height, one["peak_memory_bytes"], one.get("estimated_memory_bytes")
        parts.append(
            f'<text x="{LEFT - 12}" y="{y + 22}" text-anchor="end">{text(_short(one["run"]))}</text>'
            f'<rect class="measured" x="{LEFT}" y="{y + 6}" width="{measured / most * wide:.1f}" height="11"/>'
            + _small(LEFT + measured / most * wide, y + 16, f"{measured / GIB:.2f} GiB")
        )
        if estimated:
            end = LEFT + estimated / most * wide
            parts.append(
                f'<rect class="estimated" x="{LEFT}" y="{y + 19}" width="{end - LEFT:.1f}" height="11"/>'
                + _small(end, y + 29, f"{estimated / GIB:.2f} GiB")
            )
        speed = one.get("tokens_per_second")
        if speed:
            parts.append(
                f'<rect class="speed" x="{split:.0f}" y="{y + 12}" width="{speed / fastest * quick:.1f}" height="12"/>'
                + _small(split + speed / fastest * quick, y + 22, f"{speed:,.0f}")
            )
    caption = (
        "<p class='caption'>Left: memory, the <b class='measured'>measured peak</b> (upper bar) and what was"
        " <b class='estimated'>estimated</b> before (lower bar). Right: <b class='speed'>tokens a second</b>.</p>"
    )
    return caption + _svg(parts, len(drawn) * height, "memory and speed of every run")


def _small(end: float, y: float, words: str) -> str:
    """What stands behind a bar."""
    return f'<text x="{end + 8:.1f}" y="{y}" class="small">{words}</text>'


def _short(name: str) -> str:
    return name if len(name) <= 36 else f"…{name[-35:]}"


def _svg(parts: Sequence[str], height: float, what: str) -> str:
    return (
        f'<div class="pictured"><svg class="picture" viewBox="0 0 {WIDTH} {height:.0f}" role="img"'
        f' aria-label="{what}">{"".join(parts)}</svg></div>'
    )
