"""Lines as a picture that needs no script: values against layers or updates, a baseline dashed."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from frontpage.analysis.pages.web_page.parts import text

WIDTH, HEIGHT = 1160, 240
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 14, 40  # pixels around the points; names stand on the right
COLOURS = 10
STEP = 16  # pixels from name to name
NUMBERS = 12  # at most so many stand under the points


class Line(NamedTuple):
    """A named line through points (place, value), in order; a baseline is dashed."""

    name: str
    points: list[tuple[int, float]]
    baseline: bool = False


def picture(lines: Sequence[Line], across: str, what: str, names: Mapping[int, str] | None = None) -> str:
    """The lines that have points; `across` names the axis below, `what` all that is drawn, `names` the places on it."""
    drawn = [(colour, one) for colour, one in enumerate(lines) if one.points]
    if not drawn:
        return f"<p class='lacking'>Not drawn: {text(what)} has no value yet.</p>"
    places = sorted({place for _, one in drawn for place, _ in one.points})
    values = [value for _, one in drawn for _, value in one.points]
    low, high = min(0.0, *values), max(0.0, *values)
    first, wide, room = places[0], max(places[-1] - places[0], 1), (high - low) * 0.05 or 0.01

    def x(place: int) -> float:
        return LEFT + (place - first) / wide * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high + room - value) / (high - low + 2 * room) * (HEIGHT - TOP - BOTTOM)

    def named(place: int) -> str:
        return str(place) if names is None else text(names[place])

    parts = []
    for value in dict.fromkeys((low, high)):
        parts.append(f'<line class="guide" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for place in places[:: -(-len(places) // NUMBERS)]:
        parts.append(
            f'<text x="{x(place):.1f}" y="{HEIGHT - 22}" text-anchor="middle" class="small">{named(place)}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle" class="small">{text(across)}</text>')
    parts += [_line(f"c{colour % COLOURS}", one, x, y, named) for colour, one in drawn]
    parts += _names([(y(one.points[-1][1]), f"c{colour % COLOURS}", one) for colour, one in drawn])
    return (
        f'<div class="pictured"><svg class="picture lines" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{text(what)}">{"".join(parts)}</svg></div>'
    )


def _line(
    colour: str, line: Line, x: Callable[[int], float], y: Callable[[float], float], named: Callable[[int], str]
) -> str:
    path = "L".join(f"{x(place):.1f} {y(value):.1f}" for place, value in line.points)
    dots = "".join(
        f'<circle class="{colour}" cx="{x(place):.1f}" cy="{y(value):.1f}" r="4">'
        f"<title>{text(f'{line.name} at {named(place)}: {value:.4g}')}</title></circle>"
        for place, value in line.points
    )
    return f'<path class="{colour}{" baseline" if line.baseline else ""}" d="M{path}"/>{dots}'


def _names(ends: Sequence[tuple[float, str, Line]]) -> list[str]:
    """The names of the lines on the right, in the order in which the lines end."""
    parts = []
    for place, (_, colour, line) in enumerate(sorted(ends, key=lambda end: end[0])):
        y = TOP + 5 + place * STEP
        parts.append(
            f'<circle class="{colour}" cx="{WIDTH - RIGHT + 20}" cy="{y}" r="4"/>'
            f'<text x="{WIDTH - RIGHT + 30}" y="{y + 4}" class="small">{text(line.name)}</text>'
        )
    return parts
