"""Fit scaling laws to finished runs: `python scripts/scaling_law.py logs/scaling --budget 1e14`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from pathlib import Path
from typing import Any

import numpy as np

from frontpage.analysis.scaling.law import (
    Cost,
    Fit,
    Form,
    Hoffmann,
    Kaplan,
    PowerLaw,
    TwoTerms,
    best_size,
    distinct,
    fit_law,
    frontier,
    left_out_error,
    need_scipy,
    why_not,
)
from frontpage.analysis.scaling.plot import drawn
from frontpage.analysis.scaling.points import METRICS, SIZES, Point, check_comparable, read_points, sizes_of
from frontpage.command.arguments import Arguments, number, save_json
from frontpage.command.errors import UserError, require
from frontpage.command.notices import notice, notices
from frontpage.command.output_file import check_kind, holding, picture

MADE_BY = "frontpage scaling_law.py"
AHEAD = 3.0  # times the largest measured size, from which on a best size is called far outside


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
    require(
        {point.run for point in held} == asked, "--hold-out", " ".join(sorted(asked)), "directories of finished runs"
    )
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


def forms_for(points: list[Point]) -> list[Form]:
    """The forms that the runs can fix: of both N and D where both vary, else of the one that does."""
    varied = [len(distinct(column)) > 1 for column in sizes_of(points).T]
    if all(varied):
        return [Kaplan(), Hoffmann()]
    if not any(varied):
        raise UserError(f"run: all {len(points)} runs have the same size and the same tokens; vary one of them")
    return [PowerLaw("N" if varied[0] else "D")]


def variables_of(form: Form, points: list[Point]) -> np.ndarray:
    """(runs, k): what the form depends on."""
    sizes = sizes_of(points)
    return sizes if isinstance(form, TwoTerms) else sizes[:, ["ND".index(form.variable)]]


def fit_all(points: list[Point], draws: int, seed: int) -> tuple[dict[str, Fit], Fit, dict[str, float]]:
    """(fits by name, the one that predicts left-out runs best, its errors by name); a notice for what cannot be."""
    loss = np.array([point.loss for point in points])
    fits, errors, lacking = {}, {}, []
    for form in forms_for(points):
        variables = variables_of(form, points)
        reason = why_not(form, variables)
        if reason:
            lacking.append(reason)
            continue
        fits[form.name] = fit_law(form, variables, loss, draws, seed)
        errors[form.name] = left_out_error(form, variables, loss)
    if not fits:
        raise UserError(f"run: too few runs. {lacking[0]}")
    for reason in lacking:
        notice(f"not fitted: {reason}")
    return fits, fits[min(errors, key=errors.__getitem__)], errors


def described(fit: Fit, left_out: float) -> dict[str, Any]:
    """A fit for the JSON."""
    shown = {"equation": fit.form.equation, "fit_error": fit.error, "left_out_error": left_out}
    return shown | {"constants": fit.constants()}


def compute_law(points: list[Point], draws: int, seed: int) -> dict[str, Any] | None:
    """L(C) over the runs that no cheaper one equals; None where they are too few."""
    flops, loss = (np.array([getattr(point, name) for point in points]) for name in ("flops", "loss"))
    best, form = frontier(flops, loss), PowerLaw("C")
    if why_not(form, flops[best, None]) is not None:
        return None
    fit = fit_law(form, flops[best, None], loss[best], draws, seed)
    return {"equation": form.equation, "fit_error": fit.error, "runs": len(best), "constants": fit.constants()}


def predicted(fit: Fit, point: Point) -> dict[str, Any]:
    """The loss of a held-out run: predicted, with its interval, and measured."""
    at = variables_of(fit.form, [point])[0]
    loss, (low, high) = fit.loss(*at), fit.loss_interval(*at)
    shown = {"run": point.run, "parameters": point.parameters, "tokens": point.tokens, "measured": point.loss}
    return shown | {"predicted": loss, "low": low, "high": high, "percent_error": 100 * (loss / point.loss - 1)}


def budget(fit: Fit, points: list[Point], flops: float) -> dict[str, Any]:
    """The best size for so many operations, with its interval, its tokens and its loss."""
    require(isinstance(fit.form, TwoTerms), "--budget", f"{flops:g}", "needs runs of several sizes and several tokens")
    sizes = sizes_of(points)
    cost = Cost.of(sizes[:, 0], np.array([point.flops / point.tokens for point in points]))
    best, (low, high) = best_size(fit, flops, cost)
    tokens = cost.tokens(best, flops)
    for name, value, measured in (("parameters", best, sizes[:, 0]), ("tokens", tokens, sizes[:, 1])):
        if not measured.min() / AHEAD <= value <= measured.max() * AHEAD:
            span = f"{measured.min():.3g} to {measured.max():.3g}"
            notice(f"--budget={flops:g}: {value:.3g} {name} lie far outside the runs ({span})")
    shown = {"flops": flops, "parameters": best, "low": low, "high": high, "tokens": tokens}
    return shown | {"loss": fit.loss(best, tokens), "flops_per_token": {"factor": cost.factor, "power": cost.power}}


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
