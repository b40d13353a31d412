"""The panels of the two claims: loss by shape at one size, and tokens to one loss by size."""

import math
from collections.abc import Sequence
from typing import Any


def shape_panel(axes: Any, groups: Sequence[dict[str, Any]]) -> None:
    """The loss of each shape over that of their mean, in percent, by width over layers; a colour for each size."""
    for place, group in enumerate(groups):
        shapes = group["shapes"]
        x, y = [one["aspect"] for one in shapes], [one["percent"] for one in shapes]
        label = f"N = {group['parameters'][0]:,}, D = {group['tokens']:,}"
        axes.errorbar(x, y, yerr=_bars(shapes, "percent"), fmt="o-", color=f"C{place}", capsize=3, label=label)
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(
        xscale="log", xlabel="width / layers", ylabel="loss over the mean of shapes, %", title="dependence on shape"
    )


def efficiency_panel(axes: Any, found: dict[str, Any]) -> None:
    """The tokens that each size needs to one loss, and the power of N that they follow."""
    sizes, power = found["sizes"], found["power"]
    x, y = [one["parameters"] for one in sizes], [one["tokens"] for one in sizes]
    label = f"loss {found['loss']:.4f}: N^{power['value']:.2f}"
    if power["low"] is not None:
        label += f" ({power['low']:.2f} to {power['high']:.2f})"
    axes.errorbar(x, y, yerr=_bars(sizes, "tokens"), fmt="o-", color="C0", capsize=3, label=label)
    axes.set(xscale="log", yscale="log", xlabel="parameters N", ylabel="tokens to that loss", title="sample efficiency")


def _bars(values: Sequence[dict[str, Any]], name: str) -> list[list[float]] | None:
    """Error bars, below and above; None without intervals."""
    if any(one["low"] is None for one in values):
        return None
    up = [one["high"] - one[name] for one in values]
    return [[one[name] - one["low"] for one in values], [above if math.isfinite(above) else 0.0 for above in up]]
