"""Fit scaling laws to finished runs: `python scripts/scaling_law.py logs/scaling --budget 1e14`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from pathlib import Path
from typing import Any

from frontpage.analysis.scaling.fit import need_scipy
from frontpage.analysis.scaling.plot import drawn
from frontpage.analysis.scaling.points import METRICS, SIZES, check_comparable, read_points
from frontpage.analysis.scaling.study import budget, compute_law, described, fit_all, predicted
from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.errors import BadValue
from frontpage.command.notices import notices
from frontpage.command.output_file import check_kind, holding, picture

MADE_BY = "frontpage scaling_law.py"


def main() -> None:
    """Read, fit, choose, predict, print."""
    parser = Arguments(
        "Fit the loss of finished runs as a function of parameters, tokens and operations.",
        ("metric", "fits", "chosen"),
    )
    parser.add_argument("runs", nargs="+", help="directories of runs, or folders that hold runs")
    held_help = "a run that the fit does not see; its loss is predicted (repeat it for more)"
    parser.add_argument("--hold-out", action="append", default=[], metavar="RUN", help=held_help)
    parser.add_argument("--budget", action="append", type=number(float, 1.0), default=[], metavar="FLOPS")
    parser.add_argument("--size", choices=[*SIZES], default="non_embedding", help="which parameters N counts")
    parser.add_argument("--metric", choices=METRICS, default=METRICS[0])
    parser.add_argument("--draws", type=number(int, 20, 100_000), default=200, help="of the bootstrap (200)")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of the bootstrap")
    parser.add_output("--plot", holding(MADE_BY), help="a picture: .png, .svg or .pdf")
    arguments = parser.parse_args()
    need_scipy()
    if arguments.plot:
        check_kind(arguments.plot)
    held = read_points(arguments.hold_out, arguments.size, arguments.metric)
    asked = {str(Path(path).resolve()) for path in arguments.hold_out}
    if {point.run for point in held} != asked:
        raise BadValue("--hold-out", " ".join(sorted(asked)), "directories of finished runs")
    points = [
        point for point in read_points(arguments.runs, arguments.size, arguments.metric) if point.run not in asked
    ]
    check_comparable([*points, *held])
    fits, chosen, errors = fit_all(points, arguments.draws, arguments.seed)
    result = {
        "metric": arguments.metric,
        "size": arguments.size,
        "runs": [point._asdict() for point in points],
        "fits": {name: described(fit, errors[name]) for name, fit in fits.items()},
        "chosen": chosen.form.name,
        "compute": compute_law(points, arguments.draws, arguments.seed),
        "held_out": [predicted(chosen, point) for point in held],
        "budgets": [budget(chosen, points, flops) for flops in arguments.budget],
        "notices": notices(),
    }
    report(result)
    if arguments.plot:
        figure = drawn(chosen, points, held, arguments.metric)
        arguments.plot.write(picture(figure, arguments.plot.path, MADE_BY))
        print(f"\nplot: {arguments.plot.path}")
    save_json(arguments.json, result)


def report(result: dict[str, Any]) -> None:
    """Print everything."""
    kind = "without embeddings" if result["size"] == "non_embedding" else "with embeddings"
    print(f"{result['metric']} of {len(result['runs'])} runs; N: parameters {kind}, D: tokens seen, C: operations\n")
    print(f"{'N':>12} {'D':>12} {'C':>9} {'loss':>8}")
    for run in result["runs"]:
        print(f"{run['parameters']:>12,} {run['tokens']:>12,} {run['flops']:>9.2e} {run['loss']:>8.4f}")
    laws = [(name + " (chosen)" * (name == result["chosen"]), fit) for name, fit in result["fits"].items()]
    if result["compute"]:
        laws.append((f"L(C) of the {result['compute']['runs']} runs that no cheaper one equals", result["compute"]))
    for name, fit in laws:
        errors = f"error of the fit {fit['fit_error']:.2%}"
        if "left_out_error" in fit:
            errors += f", of runs left out in turn {fit['left_out_error']:.2%}"
        print(f"\n{name}: {fit['equation']}\n  {errors}")
        for constant, found in fit["constants"].items():
            print(f"  {constant:<10} {found['value']:>11.4g}   95 %: {found['low']:.4g} to {found['high']:.4g}")
    for run in result["held_out"]:
        print(
            f"\nheld out: {run['run']} ({run['parameters']:,} parameters, {run['tokens']:,} tokens)\n"
            f"  predicted {run['predicted']:.4f} (95 %: {run['low']:.4f} to {run['high']:.4f}),"
            f" measured {run['measured']:.4f}: {run['percent_error']:+.2f} %"
        )
    for one in result["budgets"]:
        print(
            f"\nbest size for {one['flops']:.3g} operations: {one['parameters']:,.0f} parameters"
            f" (95 %: {one['low']:,.0f} to {one['high']:,.0f}), {one['tokens']:,.0f} tokens, loss {one['loss']:.4f}"
        )


if __name__ == "__main__":
    program(main)
