"""Promises of scaling laws: known constants come back, intervals hold, and the best size is the best."""

import numpy as np
import pytest
from scaling_losses import FORMS, GRID, LARGER, TRUTH, exact_at, losses

from frontpage.analysis.scaling.fit import distinct, fit_law, left_out_errors
from frontpage.analysis.scaling.forms import Kaplan, PowerLaw
from frontpage.analysis.scaling.operations import Cost, best_size, frontier
from frontpage.analysis.scaling.points import Point
from frontpage.analysis.scaling.study import described, fit_all
from frontpage.command.errors import UserError

EACH = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)


@EACH
def test_the_constants_of_exact_losses_come_back(form):
    fit = fit_law(form, GRID, losses(form), draws=1)
    assert np.exp(fit.theta) == pytest.approx(np.exp(TRUTH[form.name]), rel=1e-3)
    assert fit.error < 1e-6
    assert fit.loss(*LARGER) == pytest.approx(exact_at(form, *LARGER), rel=1e-6)


def test_the_formulas_are_the_published_ones():
    n, d = 3e6, 2e7
    n_c, alpha_n, d_c, alpha_d = np.exp(TRUTH["kaplan"])
    assert exact_at(FORMS[0], n, d) == pytest.approx(((n_c / n) ** (alpha_n / alpha_d) + d_c / d) ** alpha_d)
    e, a, alpha, b, beta = np.exp(TRUTH["hoffmann"])
    assert exact_at(FORMS[1], n, d) == pytest.approx(e + a / n**alpha + b / d**beta)


@pytest.mark.slow
@EACH
def test_noisy_losses_still_predict_a_larger_run_and_tell_the_forms_apart(form):
    noisy = losses(form, noise=0.003, seed=1)
    fit = fit_law(form, GRID, noisy, draws=20)
    assert fit.loss(*LARGER) == pytest.approx(exact_at(form, *LARGER), rel=0.015)
    assert fit.error < 0.006
    found = {other.name: left_out_errors(other, GRID, noisy) for other in FORMS}
    errors = {name: sum(error**2 for error in one.values()) for name, one in found.items()}
    assert len({len(one) for one in found.values()}) == 1
    assert min(errors, key=errors.get) == form.name, errors


@pytest.mark.parametrize("form", [*FORMS, PowerLaw("N")], ids=lambda form: form.name)
def test_the_slope_is_the_derivative(form):
    theta, x = TRUTH.get(form.name, np.array([20.0, -2.0])), np.log(GRID)
    columns = []
    for place in range(len(theta)):
        step = 1e-5 * np.eye(len(theta))[place]
        columns.append((form.log_loss(theta + step, x) - form.log_loss(theta - step, x)) / 2e-5)
    assert form.slope(theta, x) == pytest.approx(np.stack(columns, axis=1), rel=1e-4, abs=1e-8)


def test_one_wild_run_hardly_moves_the_fit():
    form, wild = FORMS[0], losses(FORMS[0], noise=0.001)
    wild[4] *= 1.3
    assert fit_law(form, GRID, wild, draws=1).loss(*LARGER) == pytest.approx(exact_at(form, *LARGER), rel=0.01)


@pytest.mark.slow
@EACH
def test_the_intervals_cover_the_truth_in_most_draws(form):
    inside, constants = 0, []
    for seed in range(10):
        fit = fit_law(form, GRID, losses(form, noise=0.004, seed=seed), draws=40)
        low, high = fit.loss_interval(*LARGER)
        inside += low <= exact_at(form, *LARGER) <= high
        true = np.exp(TRUTH[form.name])
        constants += [
            one["low"] <= value <= one["high"] for one, value in zip(fit.constants().values(), true, strict=True)
        ]
        assert high / low < 1.15, "an interval that says something"
    assert inside >= 7 and np.mean(constants) >= 0.7


@EACH
@pytest.mark.parametrize("cost", [Cost(), Cost(90.0, 0.8)])
def test_the_best_size_has_the_lowest_loss_of_its_budget(form, cost):
    fit = fit_law(form, GRID, losses(form, noise=0.002), draws=10)
    best, (low, high) = best_size(fit, 1e14, cost)
    sizes = best * np.geomspace(0.2, 5, 401)
    by_hand = sizes[np.argmin([fit.loss(size, cost.tokens(size, 1e14)) for size in sizes])]
    assert best == pytest.approx(by_hand, rel=0.01)
    assert low <= best <= high


def test_the_best_size_is_the_closed_form_of_hoffmann():
    fit = fit_law(FORMS[1], GRID, losses(FORMS[1]), draws=1)
    _, a, alpha, b, beta = np.exp(TRUTH["hoffmann"])
    g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))  # their equation 4
    assert best_size(fit, 6e14, Cost())[0] == pytest.approx(g * 1e14 ** (beta / (alpha + beta)), rel=1e-3)


def test_the_cost_of_runs_is_measured():
    cost = Cost.of(GRID[:, 0], 90.0 * GRID[:, 0] ** 0.8)
    assert (cost.factor, cost.power) == pytest.approx((90.0, 0.8))
    assert cost.tokens(1e6, 90.0 * 1e6**0.8 * 5) == pytest.approx(5)


def test_a_power_law_in_one_variable():
    x = np.geomspace(1e5, 1e7, 5)[:, None]
    fit = fit_law(PowerLaw("N"), x, (3e9 / x[:, 0]) ** 0.08, draws=5)
    assert np.exp(fit.theta) == pytest.approx([3e9, 0.08], rel=1e-4)
    assert fit.constants()["alpha_N"]["low"] == pytest.approx(0.08, rel=1e-3)


def test_what_counts_as_one_size_and_as_the_frontier():
    assert distinct(np.array([100.0, 200.0, 101.0, 99.5, 205.0])) == [99.5, 200.0, 205.0]
    assert frontier(np.array([3.0, 1.0, 2.0, 4.0]), np.array([1.5, 2.0, 2.5, 1.2])).tolist() == [1, 0, 3]


@pytest.mark.parametrize(
    ("rows", "allowed"),
    [
        (GRID[:5], "needs 6 runs of different sizes or tokens; there are 5"),
        (GRID[:5].repeat(3, 0), "needs 6 runs of different sizes or tokens; there are 5"),  # three seeds of each
        (np.column_stack([np.geomspace(1e4, 1e6, 7), np.full(7, 5e5)]), "different values of D; there are 1"),
    ],
)
def test_a_fit_of_too_little_is_refused(rows, allowed):
    with pytest.raises(UserError, match=allowed):
        fit_law(Kaplan(), rows, np.ones(len(rows)))


def points_of(sizes, values):
    return [Point("", int(n), int(d), 6.0 * n * d, loss, (), ()) for (n, d), loss in zip(sizes, values, strict=True)]


def test_three_runs_of_one_variable_give_a_law_without_an_error_of_runs_left_out():
    sizes = [(n, 1e6) for n in (1e4, 4e4, 2e5)]
    fits, chosen, errors = fit_all(points_of(sizes, [(1e9 / n) ** 0.1 for n, _ in sizes]), 5, 0)
    assert [*fits] == ["L(N)"] and chosen is fits["L(N)"] and errors == {"L(N)": None}
    assert "left_out_error" not in described(chosen, None)


@pytest.mark.slow
def test_forms_are_compared_over_the_runs_that_each_can_do_without():
    """Hoffmann's needs three sizes, and of the third there is one run: it cannot be left out."""
    form = FORMS[0]
    sizes = [*((n, d) for n in (1e4, 6e4) for d in (2e5, 1e6, 5e6)), (4e5, 1e6)]
    noise = np.random.default_rng(3).normal(0, 0.003, len(sizes))
    values = [exact_at(form, *one) * np.exp(more) for one, more in zip(sizes, noise, strict=True)]
    points = points_of(sizes, values)
    _, _, errors = fit_all(points, 2, 0)
    variables, loss = np.array([one.variables for one in points], dtype=float), np.array(values)
    found = {one.name: left_out_errors(one, variables, loss) for one in FORMS}
    assert len(found["kaplan"]) == 7 and len(found["hoffmann"]) == 6
    common = found["hoffmann"].keys()
    for name, of_runs in found.items():
        assert errors[name] == pytest.approx(np.sqrt(np.mean([of_runs[run] ** 2 for run in common])))
