"""The promise of a winner's score: once, on titles that it was neither trained nor chosen on."""

import json
import shutil
from pathlib import Path

import pytest
from programs import run_script, train_tiny, training_titles, write_csv
from run_folders import fresh  # noqa: F401
from studies import add, new_study
from sweep_reports import report_fixture  # noqa: F401
from tiny import TINY

from frontpage.analysis.pages.sweeps.best import header
from frontpage.analysis.pages.sweeps.study_file import open_study
from frontpage.analysis.pages.sweeps.sweep import read_sweep
from frontpage.analysis.pages.sweeps.winner_score import kept_scores


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a study of two real runs, of which the second is the best; its runs have the second's record."""
    folder = tmp_path_factory.mktemp("trained") / "scored"
    study = new_study(folder)
    for number, rate in enumerate((1e-4, 1e-2)):
        run = train_tiny(folder / str(number), f"optimizer.lr={rate}")
        final = json.loads((run / "run.json").read_text())["metrics"]["final"]
        overrides = [*TINY, f"optimizer.lr={rate}"]
        add(study, {"optimizer.lr": rate}, final["val/nats_per_char"], overrides=overrides)
    return folder


@pytest.mark.slow
def test_the_winner_is_scored_once_on_titles_that_it_was_not_chosen_on(trained, tmp_path, report, capfd):
    study = shutil.copytree(trained, tmp_path / "scored")
    best = read_sweep(open_study(str(study))).winner
    trains, validates = training_titles(best.directory)
    new = [f"Nobody wrote this title number {number}" for number in range(10)]
    path = write_csv(tmp_path / "test.csv", [*new, *trains[:4], *validates[:3]])
    alone = write_csv(tmp_path / "new.csv", new)

    result, page = report(study, "--test", path)
    score = result["test"][0]
    evaluated = tmp_path / "evaluated.json"
    assert run_script(capfd, "evaluate", best.directory, f"data.path={alone}", "--json", evaluated).status == 0
    assert score["metrics_unseen"] == pytest.approx(json.loads(evaluated.read_text())["metrics"], rel=1e-5)
    assert (score["titles"], score["trained_on"], score["chosen_on"], score["scored"]) == (17, 4, 3, 10)
    assert score["trial"] == best.number and f"{score['metrics_unseen']['val/nats_per_char']:.4f} ±" in page

    opened = read_sweep(open_study(str(study)))
    assert f" on 10 titles of {path}, " in " ".join(header(opened, opened.winner, "", str(study)))
    said = run_script(capfd, "sweep_report", study, "--output", tmp_path / "other.html").stdout
    assert f"on {path} (10 titles; seen in training and left out: 4)" in said

    kept = (study / "test_score_scored.json").read_bytes()
    assert report(study, "--test", path)[0]["test"] == [score]  # and without scoring: the file is as it was
    assert report(study)[0]["test"] == [score] and (study / "test_score_scored.json").read_bytes() == kept
    for other in (["--test", alone], ["--test", path, "--trial", 1 - best.number]):
        refused = run_script(capfd, "sweep_report", study, *other)
        assert refused.status == 2 and "a test set serves once" in refused.stderr
    assert (study / "test_score_scored.json").read_bytes() == kept
    again, page = report(study, "--test", alone, "--again")
    assert [one["source"] for one in again["test"]] == [str(path), str(alone)] and "One of 2 scores" in page

    seen = write_csv(tmp_path / "seen.csv", [*trains[:5], *validates])
    refused = run_script(capfd, "sweep_report", trained, "--test", seen)
    assert refused.status == 2 and "trained or chosen on" in refused.stderr
    assert not Path(trained, "test_score_scored.json").exists()


def test_a_score_of_an_older_file_says_what_it_knows_of_its_titles(tmp_path):
    new_study(tmp_path / "old")
    told = {"study": "old", "trial": 0, "source": "t.csv", "fingerprint": "f", "titles": 1700, "trained_on": 4}
    told |= {"chosen_on": 3, "metrics": {}, "metrics_unseen": {}, "when": "2026-01-31 12:00"}
    (tmp_path / "old" / "test_score_old.json").write_text(json.dumps([told, told | {"scored": 1693}]))
    kept = kept_scores(read_sweep(open_study(str(tmp_path / "old"))))
    assert [one.of_titles for one in kept] == ["at most 1,700", "1,693"]
