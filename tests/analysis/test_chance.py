"""Promises of what guessing scores: a run writes it down, and pages show it beside the number that it belongs to."""
# ruff: noqa: F811 (a fixture is imported, and then the name of an argument)

import json
import re

import pytest
from parallel_runs import FOUR, data_of
from programs import run_script
from run_folders import fresh, write_run  # noqa: F401

from frontpage.analysis.table import collect_runs
from frontpage.data.parallel.parallel_data import VALIDATION

NAME = "val/coherence/accuracy"


def of_tasks(directory, headline=None, **chance):
    """A run that has measured coherence, and writes down these chances by `task__metric`."""
    record = json.loads((write_run(directory) / "run.json").read_text())
    record["metrics"]["final"] |= {NAME: 0.75, "val/coherence/auroc": 0.8125}
    record["metrics"]["chance"] = {f"val/{key.replace('__', '/')}": value for key, value in chance.items()}
    if headline:
        record["headline"] = {"name": headline, "better": "higher", "error": None, "unit": None, "needs": None}
    (directory / "run.json").write_text(json.dumps(record))
    return directory


@pytest.mark.slow
def test_the_chances_of_data_are_those_of_every_task_on_its_fixed_examples(tmp_path):
    data = data_of(tmp_path)
    chances, side = data.chances(), data.sides[VALIDATION]
    for name in FOUR[1:]:
        own = data.tasks[name].chances(name, data.examples[name], side)
        assert own and own.items() <= chances.items()
    assert chances[NAME] == chances["val/cross_reference/accuracy"] == chances["val/paraphrase/accuracy"] == 0.5
    assert 0 < chances["val/cross_reference/mrr"] < 0.5 and 0 < chances["val/paraphrase/recall_at_1"] < 0.5


def test_a_row_holds_them_by_the_names_of_their_metrics(tmp_path):
    (row,) = collect_runs(of_tasks(tmp_path / "run", coherence__accuracy=0.625, coherence__auroc=0.5))
    assert row["chance/coherence/accuracy"] == 0.625 and row["chance/coherence/auroc"] == 0.5
    assert row[NAME] == 0.75


def cells(page, number):
    """The cells of a page's table of runs that begin with this number."""
    return re.findall(rf">({re.escape(number)}[^<]*)</td>", page.read_text(encoding="utf-8"))


def test_the_page_shows_chance_beside_the_number(tmp_path, capfd):
    of_tasks(tmp_path / "runs" / "one", coherence__accuracy=0.625)
    of_tasks(tmp_path / "runs" / "older")  # from before it was written down
    page = tmp_path / "page.html"
    assert run_script(capfd, "report", tmp_path / "runs", "--output", page).status == 0
    assert sorted(cells(page, "0.7500")) == ["0.7500", "0.7500 (chance 0.6250)"]
    assert cells(page, "1.5000") == ["1.5000"] * 2  # of the loss there is none


@pytest.mark.parametrize(("others", "said"), [((), "0.6250"), ((0.625,), "0.6250"), ((0.51,), "0.5100 or 0.6250")])
def test_a_headline_says_what_guessing_scores_in_it(tmp_path, capfd, others, said):
    for number, chance in enumerate((0.625, *others)):
        of_tasks(tmp_path / "runs" / f"run_{number}x", headline=NAME, coherence__accuracy=chance)
    page = tmp_path / "page.html"
    assert run_script(capfd, "report", tmp_path / "runs", "--output", page).status == 0
    assert f"Higher is better. Guessing scores {said}." in page.read_text(encoding="utf-8")


def test_a_headline_without_a_chance_says_nothing_of_guessing(tmp_path, capfd):
    page = tmp_path / "page.html"
    assert run_script(capfd, "report", of_tasks(tmp_path / "one"), "--output", page).status == 0
    assert "Guessing" not in page.read_text(encoding="utf-8")
