"""When a curve leaves its plateau for good: which of several signals announces a transition first."""

import statistics
from collections.abc import Mapping, Sequence

Curve = Mapping[int, float]  # by update


def announced_at(curve: Curve, plateau: tuple[int, int], share: float = 0.1, deviations: float = 4.0) -> int | None:
    """The first update from which on a curve stays off its plateau, on the side where it ends; None without one.

    The plateau are the values in (first, last], their mean and their deviation. Off it is what is further from the mean
    than `deviations` of them, and than `share` of the way to the mean of the last tenth of the curve (at least one
    value). ValueError where the plateau has fewer than three values.
    """
    flat = [value for update, value in curve.items() if plateau[0] < update <= plateau[1]]
    if len(flat) < 3:
        raise ValueError(f"plateau={plateau}: {len(flat)} values, at least 3 are needed")
    later = [(update, value) for update, value in sorted(curve.items()) if update > plateau[1]]
    if not later:
        return None
    mean, spread = statistics.fmean(flat), statistics.stdev(flat)
    way = statistics.fmean(value for _, value in later[-max(len(later) // 10, 1) :]) - mean
    bound = max(deviations * spread, share * abs(way))
    off = [abs(value - mean) > bound and (value > mean) == (way > 0) for _, value in later]
    if not off[-1]:
        return None
    return later[max((place for place, one in enumerate(off) if not one), default=-1) + 1][0]


def curves_of(lines: Sequence[Mapping], monitor: str, measures: Sequence[str], **where: object) -> dict[str, Curve]:
    """Of the lines of monitors.jsonl the measures of one monitor, in the row that `where` tells (layer=1, mode=drift).

    What had no value is left out.
    """
    found: dict[str, dict[int, float]] = {measure: {} for measure in measures}
    for line in lines:
        if line["monitor"] != monitor:
            continue
        row = next((row for row in line["rows"] if all(row.get(name) == value for name, value in where.items())), {})
        for measure in measures:
            if row.get(measure) is not None:
                found[measure][line["step"]] = row[measure]
    return found
