"""Suggest a learning rate: `python scripts/find_lr.py experiment=quickstart --out rates.png`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from hydra import compose, initialize_config_dir

from frontpage.analysis.rate_plot import plotted, pyplot
from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.config_folder import CONFIGS
from frontpage.command.errors import BadValue
from frontpage.command.output_file import OutputFile, beginning_with, check_kind, check_outputs, holding, picture
from frontpage.training.lr_range_test import range_test, suggest
from frontpage.training.preflight import check_config

MADE_BY = "frontpage find_lr.py"


def main() -> None:
    """Train for a short while with a growing rate; print the suggestion, write the curve."""
    parser = Arguments(
        "Train with an exponentially growing learning rate, and suggest where the loss falls fastest.",
        ("suggestion", "learning_rates"),
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for train.py, e.g. experiment=quickstart")
    beside = "plot the curve there, and write FILE.csv beside it"
    parser.add_output("--out", holding(MADE_BY), metavar="FILE.png", help=beside)
    parser.add_argument("--updates", type=number(int, 20), default=200, help="optimizer updates (200)")
    parser.add_argument("--lowest", type=number(float, 1e-12), default=1e-6, help="rate of the first update (1e-6)")
    parser.add_argument("--highest", type=number(float, 1e-12), default=1.0, help="rate of the last update (1)")
    arguments = parser.parse_intermixed_args()
    if not (arguments.lowest < arguments.highest):
        raise BadValue("--lowest", arguments.lowest, f"below --highest {arguments.highest:g}")
    plt, table = None, None
    if arguments.out is not None:
        check_kind(arguments.out)
        table = OutputFile("--out", arguments.out.path.with_suffix(".csv"), beginning_with("learning_rate,loss"))
        check_outputs([one for one in (arguments.out, table, arguments.json) if one], arguments.overwrite)
        plt = pyplot(arguments.out.path)
    with initialize_config_dir(CONFIGS):
        config = compose("train", overrides=["paths.run_dir=none", *arguments.overrides])
    check_config(config)
    for key in ("ckpt_path", "init_from"):
        if config[key] is not None:
            raise BadValue(key, config[key], "null: a rate is looked for from new weights")
    if not (config.optimizer.lr > 0):
        raise BadValue("optimizer.lr", config.optimizer.lr, "above 0, to scale it")

    rates, losses = range_test(config, arguments.lowest, arguments.highest, arguments.updates)
    suggestion = suggest(rates, losses)
    if arguments.out is not None:
        rows = [("learning_rate", "loss"), *zip(rates, losses, strict=True)]
        table.write("".join(f"{rate},{loss}\n" for rate, loss in rows))
        figure = plotted(plt, rates, losses, suggestion)
        arguments.out.write(picture(figure, arguments.out.path, MADE_BY))
    ended = f"{len(rates)} updates from {rates[0]:.3g} to {rates[-1]:.3g}" if rates else "no update with a finite loss"
    said = "none: the loss never falls" if suggestion is None else f"optimizer.lr={suggestion:.2g}"
    print(f"{ended}\nsuggestion: {said} (the config has {config.optimizer.lr:g})", flush=True)
    save_json(arguments.json, {"suggestion": suggestion, "learning_rates": rates, "losses": losses})


if __name__ == "__main__":
    program(main)
