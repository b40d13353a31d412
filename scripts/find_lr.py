"""Suggest a learning rate: `python scripts/find_lr.py experiment=quickstart --out rates.png`."""

from frontpage.cli import program  # isort: skip  (first: it sends warnings to stdout)

import csv
import os
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from frontpage.checks import check_config
from frontpage.config_folder import CONFIGS
from frontpage.errors import UserError, require
from frontpage.rate_test import range_test, smoothed, suggest
from frontpage.run_command import Arguments, number, save_json


def main() -> None:
    """Train for a short while with a growing rate; print the suggestion, write the curve."""
    parser = Arguments("Train with an exponentially growing learning rate, and suggest where the loss falls fastest.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for train.py, e.g. experiment=quickstart")
    parser.add_argument(
        "--out", type=Path, metavar="FILE.png", help="plot the curve there, and write FILE.csv beside it"
    )
    parser.add_argument("--updates", type=number(int, 20), default=200, help="optimizer updates (200)")
    parser.add_argument("--lowest", type=number(float, 1e-12), default=1e-6, help="rate of the first update (1e-6)")
    parser.add_argument("--highest", type=number(float, 1e-12), default=1.0, help="rate of the last update (1)")
    arguments = parser.parse_intermixed_args()
    require(
        arguments.lowest < arguments.highest, "--lowest", arguments.lowest, f"below --highest {arguments.highest:g}"
    )
    plt = None if arguments.out is None else pyplot(arguments.out)
    with initialize_config_dir(CONFIGS):
        config = compose("train", overrides=["paths.run_dir=none", *arguments.overrides])
    check_config(config)
    for key in ("ckpt_path", "init_from"):
        require(config[key] is None, key, config[key], "null: a rate is looked for from new weights")
    require(config.optimizer.lr > 0, "optimizer.lr", config.optimizer.lr, "above 0, to scale it")

    rates, losses = range_test(config, arguments.lowest, arguments.highest, arguments.updates)
    suggestion = suggest(rates, losses)
    if arguments.out is not None:
        with arguments.out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("learning_rate", "loss"), *zip(rates, losses, strict=True)])
        plot(plt, arguments.out, rates, losses, suggestion)
    ended = f"{len(rates)} updates from {rates[0]:.3g} to {rates[-1]:.3g}" if rates else "no update with a finite loss"
    said = "none: the loss never falls" if suggestion is None else f"optimizer.lr={suggestion:.2g}"
    print(f"{ended}\nsuggestion: {said} (the config has {config.optimizer.lr:g})", flush=True)
    save_json(arguments.json, {"suggestion": suggestion, "learning_rates": rates, "losses": losses})


def pyplot(path: Path) -> Any:
    """Matplotlib, without a window; UserError without it, or where `path` cannot be written."""
    folder = path.resolve().parent
    usable = folder.is_dir() and os.access(folder, os.W_OK) and not path.is_dir()
    require(usable, "--out", path, "a file in an existing folder that can be written")
    require(path.suffix in (".png", ".svg", ".pdf"), "--out", path, "a name that ends in .png, .svg or .pdf")
    try:
        import matplotlib
    except ImportError as error:
        raise UserError(f"--out={path}: a plot needs the extra `analysis`: pip install -e '.[analysis]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def plot(plt: Any, path: Path, rates: list[float], losses: list[float], suggestion: float | None) -> None:
    """The losses, their smoothed course and the suggestion over the logarithm of the rate."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(rates, losses, color="0.8", label="of an update")
    axes.plot(rates, smoothed(losses), label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color="C1", linestyle="--", label=f"steepest descent: {suggestion:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="train/loss, nats a token")
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    program(main)
