"""Fit scaling laws to finished runs: `python scripts/scaling_law.py logs/scaling --budget 1e14`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from pathlib import Path

from frontpage.analysis.scaling.claims import claims_of
from frontpage.analysis.scaling.fit import need_scipy
from frontpage.analysis.scaling.plot import drawn
from frontpage.analysis.scaling.points import METRICS, SIZES, check_comparable, read_points
from frontpage.analysis.scaling.report import report_lines
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
    shapes_help = "runs of one size in several widths and depths, which the fit does not see (repeat it for more)"
    parser.add_argument("--shapes", action="append", default=[], metavar="RUN", help=shapes_help)
    reach_help = "the loss to count each size's tokens to (the lowest that most sizes reach)"
    parser.add_argument("--reach", type=number(float, 0.0), metavar="LOSS", help=reach_help)
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
    shapes = read_points(arguments.shapes, arguments.size, arguments.metric)
    apart = asked | {point.run for point in shapes}
    points = [one for one in read_points(arguments.runs, arguments.size, arguments.metric) if one.run not in apart]
    check_comparable([*points, *held, *shapes])
    fits, chosen, errors = fit_all(points, arguments.draws, arguments.seed)
    claims = claims_of(points, shapes, chosen, arguments.draws, arguments.seed, arguments.reach)
    result = {
        "metric": arguments.metric,
        "size": arguments.size,
        "runs": [point._asdict() for point in points],
        "fits": {name: described(fit, errors[name]) for name, fit in fits.items()},
        "chosen": chosen.form.name,
        "compute": compute_law(points, arguments.draws, arguments.seed),
        "held_out": [predicted(chosen, point) for point in held],
        "budgets": [budget(chosen, points, flops) for flops in arguments.budget],
        **claims,
        "notices": notices(),
    }
    print("\n".join(report_lines(result)))
    if arguments.plot:
        figure = drawn(chosen, points, held, arguments.metric, claims)
        arguments.plot.write(picture(figure, arguments.plot.path, MADE_BY))
        print(f"\nplot: {arguments.plot.path}")
    save_json(arguments.json, result)


if __name__ == "__main__":
    program(main)
