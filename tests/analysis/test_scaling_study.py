"""Promises of laws fitted to runs: each is read as it was, what does not belong is named, and mistakes are said."""

import json
import sys

import numpy as np
import pytest
from programs import run_script, train_tiny
from scaling_losses import FORMS, GRID, LARGER, exact_at, losses

from frontpage.analysis.scaling.points import check_comparable, read_points
from frontpage.command.extras import installing
from frontpage.command.notices import forget_notices, notices


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


@pytest.mark.slow
def test_a_real_run_is_read_as_it_was(run):
    (point,) = read_points([run])
    record = json.loads((run / "run.json").read_text())
    assert point.run == str(run.resolve())
    assert (point.parameters, point.tokens) == (record["non_embedding_parameters"], record["tokens_seen"])
    assert (point.flops, point.loss) == (record["training_flops"], record["metrics"]["final"]["val/nats_per_char"])
    (other,) = read_points([run.parent, run], size="all", metric="val/loss")
    assert (other.parameters, other.loss) == (record["parameters"], record["metrics"]["final"]["val/loss"])


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_script_compares_shapes_and_counts_tokens_to_a_loss(study, capfd, tmp_path):
    form, seeds = FORMS[1], {"seed": 2}
    folder = study([*GRID, *GRID], [*losses(form, noise=0.002, seed=1), *losses(form, noise=0.002, seed=2)])
    shaped = {(64, 9): 1.50, (96, 4): 1.45, (192, 1): 1.60}
    shapes = study([(442e3, 1.5e6)] * 3, shaped.values(), "shapes")
    for place in range(len(GRID), 2 * len(GRID)):
        edit(folder / f"{place:02}", lambda record: record["config"].update(seeds))
    for place, (width, layers) in enumerate(shaped):
        sizes = {"d_model": width, "n_layer": layers}
        edit(shapes / f"{place:02}", lambda record, sizes=sizes: record["config"]["model"].update(sizes))
    output, plot = tmp_path / "law.json", tmp_path / "law.png"
    ended = fitted(capfd, folder, "--shapes", shapes, "--json", output, "--plot", plot)
    assert (ended.status, ended.stderr) == (0, "")
    result = json.loads(output.read_text())
    assert len(result["runs"]) == 24 and result["spread"]["freedom"] == 12
    (group,) = result["shapes"]
    found = {(one["width"], one["layers"]): one["loss"] for one in group["shapes"]}
    assert found == pytest.approx(shaped)
    assert group["largest"]["percent"] == pytest.approx(100 * (1.60 / 1.45 - 1))
    assert group["largest"]["low"] < group["largest"]["percent"] < group["largest"]["high"]
    power = result["sample_efficiency"]["power"]
    assert power["low"] < power["value"] < power["high"] < 0, "the law that made the losses says so"
    assert "larger models need fewer tokens" in ended.stdout and "192x1" in ended.stdout
    assert plot.read_bytes().startswith(b"\x89PNG")
    inside = fitted(capfd, folder, shapes, "--shapes", shapes, "--reach", 1.85, "--json", output)
    assert inside.status == 0, inside.stderr
    assert len(json.loads(output.read_text())["runs"]) == 24, "shapes take no part in the fit"
    assert "tokens to a loss of 1.8500" in inside.stdout
    for words in (("--shapes", folder / "00"), ("--reach", 0.01), ("--reach", -1)):
        refused = fitted(capfd, folder, *words)
        assert refused.status == 2 and words[0] in refused.stderr and len(refused.stderr.splitlines()) <= 3


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
        ([few], ["too few runs", "4 constants and needs 6 runs of different sizes or tokens; there are 5"]),
        ([same], ["all 3 runs have the same size and the same tokens"]),
        ([tmp_path / "broken"], ["run.json cannot be read"]),
        ([few, "--budget", "-1"], ["--budget", "at least 1"]),
        ([few, "--size", "large"], ["--size", "non_embedding"]),
    ]:
        ended = fitted(capfd, *arguments)
        assert ended.status == 2, ended
        assert len(ended.stderr.splitlines()) <= 3 and all(piece in ended.stderr for piece in pieces), ended.stderr


@pytest.mark.slow
def test_without_scipy_or_matplotlib_it_says_what_to_install(study, capfd, tmp_path, monkeypatch):
    folder = study(GRID, losses(FORMS[1]))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        ended = fitted(capfd, folder, "--plot", tmp_path / "law.png")
        assert ended.status == 2 and f"matplotlib is missing: {installing('analysis')}" in ended.stderr
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    ended = fitted(capfd, folder)
    assert ended.status == 2 and f"scipy is missing: {installing('analysis')}" in ended.stderr
