"""Promises of the page about a study: it says what there was, and draws what can be drawn."""

import json
import math
import re
import shlex
import shutil

import optuna
import pytest
from markupsafe import escape
from optuna.distributions import IntDistribution
from optuna.trial import TrialState
from run_folders import NASTY, fresh  # noqa: F401
from studies import SPACE, add, new_study, record_of
from sweep_reports import PANELS, full_fixture, report_fixture, told_fixture  # noqa: F401

from frontpage.analysis.pages.sweeps.page import _cards
from frontpage.analysis.pages.sweeps.study_file import open_study
from frontpage.analysis.pages.sweeps.sweep import read_sweep
from frontpage.analysis.pages.sweeps.table import columns_of
from frontpage.analysis.pages.web_page.parts import duration


def drawn(page):
    """The keys of the plots that the page draws."""
    return {*json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page)[1])}


def lacking(page):
    """What the page says of plots that it does not draw."""
    return re.findall(r'class="lacking">Not drawn: (.*?)\.</p>', page)


@pytest.mark.slow
def test_the_page_tells_the_whole_study(told):
    result, page = told
    losses = {trial["number"]: trial["values"][0] for trial in result["trials"] if trial["values"]}
    best = min(losses, key=losses.get)
    assert result["best"] == {"trial": best, "values": [losses[best]]}
    assert result["counts"] == {"finished": 14, "pruned": 1, "failed": 1, "waiting": 1, "continued": 1}
    assert drawn(page) == PANELS and lacking(page) == []
    shares = result["importances"]["val/nats_per_char"]
    assert {*shares} == {*SPACE, "model.attention.window", "optimizer.betas"} and math.isclose(sum(shares.values()), 1)
    for piece in (
        f"{losses[best]:.4f} ± 0.0100",
        "above the median",
        "trial 17 continues it",
        "hparams_search=a_search",
    ):
        assert piece in page
    assert f"The best trial: {best}" in page and "does not say which overrides" in page
    assert "val/mainrun_coverage" in page and "0.9000" in page


@pytest.mark.slow
def test_text_from_runs_cannot_become_a_part_of_the_page(told):
    page = told[1]
    assert "document.title='broken'</script>" not in page
    assert escape(NASTY) in page
    assert page.count("<script") == 3  # plotly, the figures, what draws them


def test_the_page_asks_for_nothing_from_a_network(told):
    page = told[1]
    own = page.replace(re.search(r"</main>\s*(<script>.*?</script>\n)", page, re.DOTALL)[1], "")
    assert re.findall(r"(?:src|href)=\"(?!data:)[^\"]+\"", own) == [] and "@import" not in own and "http" not in own


def test_the_honest_and_the_legacy_metric_stand_side_by_side(full):
    names = [column.name for column in columns_of(read_sweep(open_study(str(full))))]
    at = names.index("val/nats_per_char")
    assert names[at : at + 4] == ["val/nats_per_char", "± standard error", "val/mainrun_loss", "val/mainrun_coverage"]


@pytest.mark.slow
def test_several_objectives_have_a_front(tmp_path, report):
    study = new_study(tmp_path / "two", objectives=("val/nats_per_char", "parameters"))
    points = [(1.0, 900.0, 16), (2.0, 500.0, 32), (2.5, 950.0, 64), (1.5, 700.0, 128), (1.0, 901.0, 17)]
    for loss, size, width in points:
        add(study, {"model.d_model": width}, [loss, size], record=record_of(loss, int(size)))
    result, page = report(tmp_path / "two")
    assert result["pareto"] == [0, 3, 1] and result["best"]["trial"] == 0
    assert {"pareto", "history-1", "slices-1", "weights-0"} <= drawn(page) and "weights-1" not in drawn(page)
    assert 'id="pareto-table"' in page


@pytest.mark.slow
def test_a_maximised_objective_is_best_where_it_is_highest(tmp_path):
    import optuna

    new_study(tmp_path)  # for the verbosity
    study = optuna.create_study(direction="maximize", study_name="up", storage=f"sqlite:///{tmp_path}/up.db")
    for number, value in enumerate((0.1, 0.9, float("inf"), 0.5)):
        study.add_trial(
            optuna.create_trial(value=value, params={"a": number}, distributions={"a": IntDistribution(0, 9)})
        )
    sweep = read_sweep(open_study(f"sqlite:///{tmp_path}/up.db"))
    assert sweep.winner.number == 1 and [trial.number for trial in sweep.finished] == [0, 1, 3]
    assert sweep.objectives == ["objective"] and "no finite number" in sweep.trials[2].reason


def some(folder, kind):
    """A study at the edge of what can be drawn."""
    study = new_study(folder / kind)
    lr = "optimizer.lr"
    if kind == "one":
        add(study, {lr: 0.01}, 1.5, record=record_of(1.5))
    elif kind == "failed":
        for _ in range(3):
            add(study, {lr: 0.01}, state=TrialState.FAIL, reason="diverged", curve={10: float("nan")})
    elif kind == "one parameter":
        for place in range(5):
            add(study, {lr: 0.01 + place / 100}, 1.5 + place)
    elif kind == "no parameter":
        for place in range(3):
            add(study, {}, 1.5 + place)
    elif kind == "all alike":
        for place in range(4):
            add(study, {lr: 0.01 + place / 100}, 1.5)
    elif kind == "conditional":
        for place in range(6):
            add(study, {lr: 0.01} if place % 2 else {"model.d_model": 16 + place}, 1.5 + place)
    elif kind == "infinite":
        add(study, {lr: 0.01}, float("inf"), record=record_of(None))
        add(study, {lr: 0.02}, 1.5, curve={1: float("inf"), 2: 2.0})
    return folder / kind


EDGES = {
    "none": (set(), "no trial has finished"),
    "one": ({"history-0"}, "needs two finished trials"),
    "failed": (set(), "no trial has finished"),
    "one parameter": ({"history-0", "distribution", "importances", "slices-0", "parallel"}, "needs two parameters"),
    "no parameter": ({"history-0", "distribution"}, "no parameter has had two values"),
    "all alike": ({"history-0", "distribution", "slices-0", "parallel"}, "differ in a parameter and in their results"),
    "conditional": (
        {"history-0", "distribution", "importances", "slices-0", "parallel"},
        "finished trials that have both",
    ),
    "infinite": ({"history-0", "curves"}, "needs two finished trials"),
}


@pytest.mark.parametrize("kind", EDGES)
def test_what_cannot_be_drawn_is_said(kind, tmp_path, report):
    result, page = report(some(tmp_path, kind))
    plots, said = EDGES[kind]
    assert drawn(page) == plots
    assert any(said in one for one in lacking(page)), lacking(page)
    assert len(lacking(page)) == len(PANELS) - len(plots)
    assert (result["best"] is None) == (kind in ("none", "failed"))
    assert ("No trial has finished yet" in page) == (result["best"] is None)


def test_a_journal_cut_off_in_its_last_line_is_read(full, tmp_path):
    moved = shutil.copytree(full, tmp_path / "moved")
    with (moved / "study.journal").open("a") as file:
        file.write('{"op_code": 5, "worker')
    assert read_sweep(open_study(str(moved))).counts["finished"] == 14


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [("objectives", 5), ("space", 5), ("space", "x"), ("overrides", 5), ("overrides", [5]), ("sweep_dir", 5)],
)
def test_an_attribute_of_a_wrong_type_is_said_and_left_out(tmp_path, report, name, value):
    study = new_study(tmp_path / "odd")
    directory = add(study, {"model.d_model": 32}, 1.0, record=record_of(1.0), overrides=["model.d_model=32"])
    study.set_user_attr(name, value)
    result, page = report(tmp_path / "odd")
    assert any(one.startswith(f"study odd: its attribute {name} is no ") for one in result["notices"])
    assert directory.is_dir() and "trial 0" in page.lower()


def test_attributes_of_a_trial_that_are_of_a_wrong_type_are_said(tmp_path, report):
    study = new_study(tmp_path / "odd")
    add(study, {"model.d_model": 32}, 1.0, record=record_of(1.0), overrides=[5])
    add(study, {"model.d_model": 32}, 2.0, record=record_of(2.0), overrides=["model.d_model=32"], directory=5)
    notices = report(tmp_path / "odd")[0]["notices"]
    assert "trial 0: its attribute overrides is no list of texts; it counts as if it were not there" in notices
    assert "trial 1: its attribute directory is no text; it counts as if it were not there" in notices


def test_seconds_of_a_run_that_went_on_count_once(tmp_path):
    """Trial 1 continues 0 and dies without a record, 2 continues it; 3 begins anew where 2 had left no checkpoint."""
    study = new_study(tmp_path / "s")
    told = ({}, {"retry_of": 0, "continues_at": 5}, {"retry_of": 1, "continues_at": 5}, {"retry_of": 2})
    for attributes, seconds in zip(told, (100, None, 250, 30), strict=True):
        add(study, {"optimizer.lr": 1e-2}, 1.0, record={"seconds": seconds} if seconds else None, **attributes)
    (card,) = (one for one in _cards(read_sweep(open_study(str(tmp_path / "s"))), []) if "of training" in one.small)
    assert card.big == duration(280)


@pytest.mark.slow
def test_studies_that_share_a_journal_have_runs_of_their_own(tmp_path):
    first = new_study(tmp_path / "a")
    add(first, {"optimizer.lr": 1e-2}, 1.0, record={"seconds": 1})
    (tmp_path / "b").mkdir()
    second = optuna.create_study(study_name="b", storage=first._storage)
    for key, value in (first.user_attrs | {"sweep_dir": str(tmp_path / "b")}).items():
        second.set_user_attr(key, value)
    add(second, {"optimizer.lr": 2e-2}, 2.0, record={"seconds": 2})
    for name in "ab":
        (trial,) = read_sweep(open_study(f"{tmp_path}/a/study.journal#{name}")).trials
        assert trial.directory == tmp_path / name / "0"


@pytest.mark.slow
def test_the_winners_experiment_takes_the_folders_and_the_trust_of_the_command(tmp_path, report):
    folder = tmp_path / "more configs"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "own.yaml").write_text("# @package _global_\ndefaults:\n  - quickstart\n  - _self_\n")
    launched = ["experiment=own", "optimizer._target_=mine.Adam"]
    add(new_study(tmp_path / "s"), {"model.d_model": 32}, 1.0, record=record_of(1.0), overrides=launched)
    result, page = report(tmp_path / "s")
    assert result["command"] is None and "nor in a folder of --config-dir" in page
    result, page = report(tmp_path / "s", "--config-dir", folder)
    assert result["command"] is None and "is not trusted (--trust)" in page
    result, page = report(tmp_path / "s", "--config-dir", folder, "--trust", tmp_path / "s")
    words = shlex.split(result["command"])
    assert words[:4] == ["python", "train.py", f"--config-dir={folder}", "experiment=own"]
    assert escape(f"make promote STUDY={tmp_path}/s ARGS=\"'--config-dir={folder}'\"") in page
