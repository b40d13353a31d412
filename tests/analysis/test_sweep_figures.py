"""Promises of the plots of a study: each trial lies where it was measured, says who it is, and is text."""

import re

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from run_folders import NASTY
from studies import add, new_study
from sweep_reports import full_fixture  # noqa: F401

from frontpage.analysis.pages.sweeps.figures import SURFACE, history, importances, pairs, panels_of, slices, study_of
from frontpage.analysis.pages.sweeps.look import as_json
from frontpage.analysis.pages.sweeps.study_file import OpenedStudy, open_study
from frontpage.analysis.pages.sweeps.sweep import read_sweep
from frontpage.analysis.pages.web_page.render import templates

LR = "optimizer.lr"


def swept(study):
    return read_sweep(open_study(f"{study.user_attrs['sweep_dir']}/study.journal"))


@pytest.fixture
def holed(tmp_path):
    """A study whose trials 1, 3 and 5 have finished."""
    study = new_study(tmp_path / "holed")
    for place, loss in enumerate((None, 3.0, None, 1.0, None, 2.0)):
        state = TrialState.COMPLETE if loss else TrialState.FAIL
        add(study, {LR: 0.01 * (place + 1)}, loss, state=state)
    return swept(study)


def test_trials_keep_their_numbers_where_others_have_failed(holed):
    (figure,) = history(holed, 0)
    points, best, _ = figure.data
    assert (list(points.x), list(points.y)) == ([1, 3, 5], [3.0, 1.0, 2.0])
    assert (list(best.x), list(best.y)) == ([1, 2, 3, 4, 5], [3.0, 3.0, 1.0, 1.0, 1.0])
    assert [text.split(" (")[0] for text in points.text] == ["trial 1", "trial 3", "trial 5"]
    points, best = slices(holed, 0)[0].data
    assert list(points.x) == pytest.approx([0.02, 0.04, 0.06]) and (best.x[0], best.y[0]) == pytest.approx((0.04, 1.0))
    assert [text.split(" (")[0] for text in points.text] == ["trial 1", "trial 3", "trial 5"]


@pytest.mark.slow
def test_of_a_maximised_objective_the_best_so_far_rises_and_the_highest_ranks_first(tmp_path):
    new_study(tmp_path)  # for the verbosity
    study = optuna.create_study(direction="maximize", study_name="up", storage=f"sqlite:///{tmp_path}/up.db")
    for number, value in enumerate((0.1, 0.9, 0.5)):
        drawn = {"a": FloatDistribution(0, 9)}
        study.add_trial(create_trial(value=value, params={"a": float(number)}, distributions=drawn))
    sweep = read_sweep(open_study(f"sqlite:///{tmp_path}/up.db"))
    assert list(history(sweep, 0)[0].data[1].y) == [0.1, 0.9, 0.9]
    assert sweep.ranks(0) == {0: 1.0, 1: 0.0, 2: 0.5}


def test_equal_results_share_the_middle_of_their_ranks(tmp_path):
    study = new_study(tmp_path / "equal")
    for loss in (2.0, 1.0, 2.0, 3.0, 1.0):
        add(study, {LR: 0.01}, loss)
    assert swept(study).ranks(0) == {0: 0.625, 1: 0.125, 2: 0.625, 3: 1.0, 4: 0.125}


def test_every_objective_has_the_best_so_far_of_its_own(tmp_path):
    study = new_study(tmp_path / "two", objectives=("val/nats_per_char", "parameters"))
    for loss, size in ((3.0, 10.0), (2.0, 30.0), (4.0, 5.0)):
        add(study, {LR: 0.01 * loss}, [loss, size])
    sweep = swept(study)
    assert [list(history(sweep, place)[0].data[1].y) for place in (0, 1)] == [[3.0, 2.0, 2.0], [10.0, 10.0, 5.0]]


def test_choices_that_are_cut_off_or_spelled_alike_stay_apart(tmp_path):
    choices = ["a" * 30 + "x", "a" * 30 + "y", 0.123456, 0.123457, True, None]
    drawn, study = CategoricalDistribution(choices), new_study(tmp_path / "choices")
    for place, choice in enumerate(choices):
        add(study, {"c": choice}, 1.0 + place, space={"c": drawn})
    found = [trial.params["c"] for trial in study_of(swept(study)).trials]
    assert len({*found}) == len(choices)


def test_pairs_of_a_large_study_are_of_its_best_trials_alone(tmp_path):
    study = optuna.create_study()
    space = {"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1)}
    for number in range(SURFACE + 20):
        params = {"a": number / 1000, "b": (number * 7 % 100) / 100}
        study.add_trial(create_trial(value=float(number), params=params, distributions=space))
    sweep = read_sweep(OpenedStudy(study, None))
    (figure,) = pairs(sweep, {"a": 0.5, "b": 0.5})
    points = figure.data[1]
    assert len(points.x) == len(points.text) == SURFACE and max(points.x) == pytest.approx((SURFACE - 1) / 1000)


@pytest.mark.slow
def test_no_name_and_no_value_of_a_study_is_read_as_markup(tmp_path):
    space = {NASTY: FloatDistribution(0, 1), LR: FloatDistribution(0, 1)}
    space |= {"choice": CategoricalDistribution([NASTY, "<a href='x'>"])}
    study = new_study(tmp_path / "nasty", objectives=(NASTY, "<i>two"))
    for place in range(6):
        params = {NASTY: place / 10, LR: 0.1 * place, "choice": space["choice"].choices[place % 2]}
        add(study, params, [1.0 + place, 9.0 - place], space=space, curve={1: 2.0 + place})
    sweep = swept(study)
    panels = panels_of(sweep, importances(sweep))
    figures = [as_json(figure) for found in panels.values() if not isinstance(found, str) for figure in found]
    assert len(figures) > 10

    def texts(content):
        if isinstance(content, dict):
            content = content.values()
        if isinstance(content, list | type({}.values())):
            return [text for one in content for text in texts(one)]
        return [content] if isinstance(content, str) else []

    found = [text for figure in figures for text in texts(figure)]
    assert any("&lt;/script&gt;" in text for text in found)
    assert {mark for text in found for mark in re.findall("<[^>]*>?", text)} <= {"<br>", "<extra>", "</extra>"}


def test_a_page_shows_no_secret_and_escapes_in_attributes_too(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "abcdefgh12345")
    template = templates().from_string('<p title="{{ value }}">{{ value }}</p>{{ {"key": value}|tojson }}')
    shown = template.render(value="\"><script>'\x1b SOME_TOKEN=abcdefgh12345")
    assert "<script" not in shown and "abcdefgh12345" not in shown and "\x1b" not in shown
    assert shown.count("***") == 3 and r"\x1b" in shown and 'title="&#34;&gt;' in shown
