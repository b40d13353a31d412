"""What runs say together: the laws that they can fix, held-out runs predicted, the best size for a budget."""

from typing import Any

import numpy as np

from frontpage.analysis.scaling.fit import Fit, distinct, fit_law, left_out_errors, why_not
from frontpage.analysis.scaling.forms import Form, Hoffmann, Kaplan, PowerLaw, TwoTerms
from frontpage.analysis.scaling.operations import Cost, best_size, frontier
from frontpage.analysis.scaling.points import Point, sizes_of
from frontpage.command.errors import BadValue, UserError
from frontpage.command.notices import notice

AHEAD = 3.0  # times the largest measured size, from which on a best size is called far outside


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


def fit_all(points: list[Point], draws: int, seed: int) -> tuple[dict[str, Fit], Fit, dict[str, float | None]]:
    """(fits by name, the one that predicts left-out runs best, its errors by name); a notice for what cannot be.

    An error is a root mean square over the runs that every form can do without, so that errors can be compared; None
    where there is none, which only a single form may have.
    """
    loss = np.array([point.loss for point in points])
    fits, errors, lacking = {}, {}, []
    for form in forms_for(points):
        variables = variables_of(form, points)
        reason = why_not(form, variables)
        if reason:
            lacking.append(reason)
            continue
        fits[form.name] = fit_law(form, variables, loss, draws, seed)
        errors[form.name] = left_out_errors(form, variables, loss)
    if not fits:
        raise UserError(f"run: too few runs. {lacking[0]}")
    for reason in lacking:
        notice(f"not fitted: {reason}")
    common = set.intersection(*map(set, errors.values()))
    if not common and len(fits) > 1:
        raise UserError(f"run: none can be left out of {len(points)} by all of {' '.join(fits)}; train more sizes")
    means = {name: _root_mean_square([found[run] for run in sorted(common)]) for name, found in errors.items()}
    return fits, fits[min(means, key=lambda name: means[name] or 0.0)], means


def _root_mean_square(errors: list[float]) -> float | None:
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else None


def described(fit: Fit, left_out: float | None) -> dict[str, Any]:
    """A fit for the JSON."""
    shown = {"equation": fit.form.equation, "fit_error": fit.error}
    shown |= {} if left_out is None else {"left_out_error": left_out}
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
    if not isinstance(fit.form, TwoTerms):
        raise BadValue("--budget", f"{flops:g}", "needs runs of several sizes and several tokens")
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
