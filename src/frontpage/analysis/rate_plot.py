"""The picture of a range test: losses over the learning rate."""

from pathlib import Path
from typing import Any

from frontpage.command.errors import UserError
from frontpage.command.extras import installing
from frontpage.training.lr_range_test import smoothed


def pyplot(path: Path) -> Any:
    """Matplotlib, without a window; UserError without it."""
    try:
        import matplotlib
    except ImportError as error:
        raise UserError(f"--out={path}: a plot needs the extra `analysis`: {installing('analysis')}") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def plotted(plt: Any, rates: list[float], losses: list[float], suggestion: float | None) -> Any:
    """The losses, their smoothed course and the suggestion over the logarithm of the rate."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(rates, losses, color="0.8", label="of an update")
    axes.plot(rates, smoothed(losses), label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color="C1", linestyle="--", label=f"steepest descent: {suggestion:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="train/loss, nats a token")
    axes.legend()
    plt.close(figure)
    return figure
