"""Promises of scaling laws: known constants come back, intervals hold, the best size is the best, mistakes are said."""

import json
import math
import sys

import numpy as np
import pytest
from programs import run_script, train_tiny

from frontpage.analysis.scaling.fit import distinct, fit_law, left_out_error
from frontpage.analysis.scaling.forms import Hoffmann, Kaplan, PowerLaw
from frontpage.analysis.scaling.operations import Cost, best_size, frontier
from frontpage.analysis.scaling.points import check_comparable, read_points
from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices

GRID = np.array([(n, d) for n in (25e3, 98e3, 332e3, 983e3) for d in (0.5e6, 1.5e6, 4.5e6)])
LARGER = (2.2e6, 4.5e6)
TRUTH = {  # the logarithms of constants that give losses such as those of small models
    "kaplan": np.log([2e13, 0.076, 3e8, 0.095]),
    "hoffmann": np.log([0.9, 8.0, 0.25, 60.0, 0.32]),
}
FORMS = [Kaplan(), Hoffmann()]
EACH = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)


def losses(form, noise=0.0, seed=0):
    exact = form.log_loss(TRUTH[form.name], np.log(GRID))
    return np.exp(exact + noise * np.random.default_rng(seed).standard_normal(len(GRID)))


def exact_at(form, *sizes):
    return float(np.exp(form.log_loss(TRUTH[form.name], np.log([sizes])))[0])


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


@EACH
def test_noisy_losses_still_predict_a_larger_run_and_tell_the_forms_apart(form):
    noisy = losses(form, noise=0.003, seed=1)
    fit = fit_law(form, GRID, noisy, draws=20)
    assert fit.loss(*LARGER) == pytest.approx(exact_at(form, *LARGER), rel=0.015)
    assert fit.error < 0.006
    errors = {other.name: left_out_error(other, GRID, noisy) for other in FORMS}
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
        (GRID[:5], "needs 6 runs; there are 5"),
        (GRID[GRID[:, 1] == 0.5e6].repeat(2, 0), "different values of D; there are 1"),
    ],
)
def test_a_fit_of_too_little_is_refused(rows, allowed):
    with pytest.raises(UserError, match=allowed):
        fit_law(Kaplan(), rows, np.ones(len(rows)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    return train_tiny(tmp_path_factory.mktemp("scaling") / "run", "trainer.max_steps=2")


def numbered(record, n, d, loss):
    """A record with other numbers; training takes 40 operations a parameter and token."""
    changed = {"parameters": int(n * 2), "non_embedding_parameters": int(n), "tokens_seen": int(d)}
    changed |= {"training_flops": 40.0 * n * d}
    final = record["metrics"]["final"] | {"val/nats_per_char": float(loss), "val/loss": 3 * float(loss)}
    data = record["data"] | {"train_tokens": int(4e6)}
    return record | changed | {"metrics": {"final": final}, "data": data}


@pytest.fixture
def study(run, tmp_path):
    """study(sizes, losses) lays out a folder of runs such as the real one, with these numbers."""
    record = json.loads((run / "run.json").read_text())

    def laid(sizes, loss, name="study"):
        for place, (size, value) in enumerate(zip(sizes, loss, strict=True)):
            directory = tmp_path / name / f"{place:02}"
            directory.mkdir(parents=True)
            (directory / "run.json").write_text(json.dumps(numbered(record, *size, value)))
        return tmp_path / name

    return laid


def edit(directory, change):
    record = json.loads((directory / "run.json").read_text())
    change(record)
    (directory / "run.json").write_text(json.dumps(record))


def fitted(capfd, *arguments):
    return run_script(capfd, "scaling_law", "--draws", 20, *arguments)


def test_a_real_run_is_read_as_it_was(run):
    (point,) = read_points([run])
    record = json.loads((run / "run.json").read_text())
    assert point.run == str(run.resolve())
    assert (point.parameters, point.tokens) == (record["non_embedding_parameters"], record["tokens_seen"])
    assert (point.flops, point.loss) == (record["training_flops"], record["metrics"]["final"]["val/nats_per_char"])
    (other,) = read_points([run.parent, run], size="all", metric="val/loss")
    assert (other.parameters, other.loss) == (record["parameters"], record["metrics"]["final"]["val/loss"])


def test_the_script_fits_chooses_predicts_and_draws(study, capfd, tmp_path):
    form = FORMS[1]
    sizes = [*GRID, LARGER]
    folder = study(sizes, [*losses(form, noise=0.002, seed=4), exact_at(form, *LARGER)])
    output, plot = tmp_path / "law.json", tmp_path / "law.png"
    ended = fitted(capfd, folder, "--hold-out", folder / "12", "--budget", "1e14", "--json", output, "--plot", plot)
    assert (ended.status, ended.stderr) == (0, "")
    result = json.loads(output.read_text())
    assert len(result["runs"]) == 12 and result["chosen"] == "hoffmann"
    assert result["fits"]["hoffmann"]["left_out_error"] < result["fits"]["kaplan"]["left_out_error"]
    (held,) = result["held_out"]
    assert abs(held["percent_error"]) < 2 and held["low"] <= held["predicted"] <= held["high"]
    assert f"{held['percent_error']:+.2f} %" in ended.stdout and "hoffmann (chosen)" in ended.stdout
    (one,) = result["budgets"]
    assert one["flops_per_token"] == pytest.approx({"factor": 40.0, "power": 1.0})
    assert one["low"] <= one["parameters"] <= one["high"] and one["tokens"] * one["parameters"] == pytest.approx(2.5e12)
    assert result["compute"]["runs"] >= 3
    assert plot.read_bytes().startswith(b"\x89PNG") and plot.stat().st_size > 20_000


def test_runs_of_one_size_give_a_law_of_tokens(study, capfd, tmp_path):
    forget_notices()
    tokens = np.geomspace(1e5, 1e7, 4)
    folder = study([(1e5, d) for d in tokens], (1e9 / tokens) ** 0.1)
    ended = fitted(capfd, folder, "--json", tmp_path / "law.json", "--plot", tmp_path / "law.svg")
    assert (ended.status, ended.stderr) == (0, "")
    result = json.loads((tmp_path / "law.json").read_text())
    assert result["chosen"] == "L(D)"
    assert result["fits"]["L(D)"]["constants"]["alpha_D"]["value"] == pytest.approx(0.1, rel=1e-3)
    assert result["notices"] == [], "2.5 passes over the titles are few enough"
    refused = fitted(capfd, folder, "--budget", "1e14")
    assert refused.status == 2 and "--budget=1e+14: needs runs of several sizes" in refused.stderr


def test_titles_seen_too_often_and_other_recipes_are_said(study):
    forget_notices()
    folder = study([(1e5, 1e6), (1e5, 20e6)], [2.0, 1.5])
    edit(
        folder / "00",
        lambda record: record["config"]["model"].update(_target_="frontpage.recipe.modules.UNetGPTModule"),
    )
    check_comparable(read_points([folder]))
    assert f"{folder.resolve() / '01'} saw its titles 5.0 times" in notices()[0]
    assert "GPTModule with CausalAttention; UNetGPTModule with CausalAttention" in notices()[1]


def test_an_unfinished_run_is_left_out_and_said(study, capfd):
    folder = study(GRID, losses(FORMS[1]))
    edit(folder / "03", lambda record: record.update(status="interrupted"))
    ended = fitted(capfd, folder)
    assert ended.status == 0
    assert "left out, not finished:" in ended.stdout and "03 (interrupted)" in ended.stdout
    assert "of 11 runs" in ended.stdout
    refused = fitted(capfd, folder, "--hold-out", folder / "03")
    assert refused.status == 2 and "--hold-out=" in refused.stderr and "finished runs" in refused.stderr


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        (lambda record: record["data"].update(fingerprint="other"), ["other titles or another tokenizer than"]),
        (lambda record: record.update(tokens_seen=0), ["tokens_seen 0", "above 0"]),
        (lambda record: record["metrics"]["final"].pop("val/nats_per_char"), ["val/nats_per_char None"]),
        (lambda record: record["metrics"]["final"].update({"val/coverage": 0.5}), ["val/coverage 0.5", "whole set"]),
    ],
)
def test_a_run_that_does_not_belong_is_named(study, capfd, change, pieces):
    folder = study(GRID, losses(FORMS[1]))
    edit(folder / "07", change)
    ended = fitted(capfd, folder)
    assert ended.status == 2
    assert len(ended.stderr.splitlines()) <= 3
    for piece in [f"run={folder.resolve() / '07'}", *pieces]:
        assert piece in ended.stderr


def test_other_mistakes(study, run, capfd, tmp_path):
    few = study(GRID[:5], losses(FORMS[1])[:5], "few")
    same = study(GRID[[0, 0, 0]], [1.0, 1.0, 1.0], "same")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    for arguments, pieces in [
        ([tmp_path / "nowhere"], [f"run={tmp_path}/nowhere", "there is no such folder"]),
        ([few], ["too few runs", "4 constants and needs 6 runs; there are 5"]),
        ([same], ["all 3 runs have the same size and the same tokens"]),
        ([tmp_path / "broken"], ["run.json cannot be read"]),
        ([few, "--budget", "-1"], ["--budget", "at least 1"]),
        ([few, "--size", "large"], ["--size", "non_embedding"]),
    ]:
        ended = fitted(capfd, *arguments)
        assert ended.status == 2, ended
        assert len(ended.stderr.splitlines()) <= 3 and all(piece in ended.stderr for piece in pieces), ended.stderr


def test_without_scipy_or_matplotlib_it_says_what_to_install(study, capfd, tmp_path, monkeypatch):
    folder = study(GRID, losses(FORMS[1]))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        ended = fitted(capfd, folder, "--plot", tmp_path / "law.png")
        assert ended.status == 2 and "matplotlib is missing: pip install 'frontpage[analysis]'" in ended.stderr
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    ended = fitted(capfd, folder)
    assert ended.status == 2 and "scipy is missing: pip install 'frontpage[analysis]'" in ended.stderr


# scripts/scaling_runs.py

SMALL = ("data=synthetic", "data.num_titles=300", "tokenizer.vocab_size=300", "trainer.accelerator=cpu")


@pytest.mark.slow
def test_a_grid_is_trained_once_and_can_be_fitted(capfd, tmp_path):
    folder = tmp_path / "grid"
    start = ("scaling_runs", folder, *SMALL, f"paths.cache_dir={tmp_path}/cache", "--tokens", "4200", "--jobs", 1)
    ended = run_script(capfd, *start, "--sizes", "32x1,64x1", "--held-out", "")
    assert ended.status == 0, ended.stdout + ended.stderr
    assert "2 runs, 0 finished before" in ended.stdout
    records = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/run.json")}
    assert sorted(records) == ["32x1_4200", "64x1_4200"]
    assert all(record["status"] == "finished" and record["steps"] == 2 for record in records.values())
    rates = [records[name]["config"]["optimizer"]["lr"] for name in sorted(records)]
    assert rates == pytest.approx([8e-3 * math.sqrt(2), 8e-3], rel=1e-3)
    ended = run_script(capfd, *start, "--sizes", "32x1,64x1", "--held-out", "96x1:4200")
    assert ended.status == 0 and "3 runs, 2 finished before" in ended.stdout
    assert f"scaling_law.py {folder} --hold-out {folder}/96x1_4200" in ended.stdout
    ended = fitted(capfd, folder, "--hold-out", folder / "96x1_4200")
    assert ended.status == 2 and "needs 3 runs" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "pieces"),
    [
        (["data.path=nowhere.csv"], ["data.path=nowhere.csv", "no such file"]),
        (["model.d_model=64"], ["model.d_model=64", "set for each run"]),
        (["data.blok_size=3"], ["data.blok_size=3", "did you mean"]),
        (["--sizes", "64"], ["'64' is not WIDTHxLAYERS", "multiple of 32"]),
        (["--sizes", "50x2"], ["'50x2' is not WIDTHxLAYERS"]),
        (["--tokens", "100"], ["--tokens=100", "2,048"]),
        (["--tokens", "many"], ["'many' is not a number"]),
    ],
    ids=lambda value: value[0],
)
def test_mistakes_in_the_grid(capfd, tmp_path, arguments, pieces):
    ended = run_script(capfd, "scaling_runs", tmp_path / "grid", *SMALL, "--held-out", "", *arguments)
    assert ended.status == 2, ended.stdout
    assert len(ended.stderr.splitlines()) <= 3 and all(piece in ended.stderr for piece in pieces), ended.stderr
    assert not (tmp_path / "grid").exists() or not list((tmp_path / "grid").glob("*/run.json"))


def test_a_folder_with_other_files_is_left_alone(capfd, tmp_path):
    place = tmp_path / "grid" / "32x1_4200"
    place.mkdir(parents=True)
    (place / "mine.txt").write_text("mine")
    shape = ("--sizes", "32x1", "--tokens", "4200", "--held-out", "")
    ended = run_script(capfd, "scaling_runs", tmp_path / "grid", *SMALL, *shape)
    assert ended.status == 2 and f"folder={place}" in ended.stderr
    assert [path.name for path in place.iterdir()] == ["mine.txt"]
