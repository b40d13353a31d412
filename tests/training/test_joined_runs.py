"""Promises of runs on days: validated whole, told by position, scored again to the same numbers, and resumable."""

import csv
import json
from datetime import datetime, timedelta

import pytest
from omegaconf import OmegaConf
from programs import record_of, run_script, train_tiny, weights_of
from run_outputs import checkpoint_of, losses_of, same, stop_at
from tiny import TINY

from frontpage.analysis.comparison import compare, title_nats
from frontpage.command.build import build
from frontpage.command.endings import Interrupted
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.runs.reopen import load_run

DAYS = ("data.num_titles=450", "data.val_frac=0.3", "data.join=day", "callbacks=position_nats")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the embedded titles, by day."""
    return train_tiny(tmp_path_factory.mktemp("joined") / "run", *DAYS)


@pytest.fixture(scope="module")
def sides(run):
    """The days of each side, as lists of titles."""
    chosen = build(OmegaConf.load(run / "config.yaml").data, "data").select()
    found = []
    for titles, documents in ((chosen.train, chosen.train_documents), (chosen.validation, chosen.validation_documents)):
        starts = documents.starts
        found.append([titles[start:end] for start, end in zip(starts[:-1], starts[1:], strict=True)])
    return found


def write_days(path, days):
    """A file of these days, its rows in no order."""
    when = datetime(2020, 1, 1)
    rows = [
        ((when + timedelta(days=day, minutes=place)).isoformat(), title)
        for day, titles in enumerate(days)
        for place, title in enumerate(titles)
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("created", "title"), *sorted(rows, key=lambda row: row[1])])
    return path


def scored(capfd, folder, run, *arguments):
    ended = run_script(capfd, "evaluate", run, "--json", folder / "scored.json", *arguments)
    assert (ended.status, ended.stderr) == (0, ""), ended.stderr
    return json.loads((folder / "scored.json").read_text()), ended.stdout


@pytest.mark.slow
def test_the_whole_validation_set_is_scored_and_told_by_position(run, sides):
    record = record_of(run)
    final, found = record["metrics"]["final"], record["nats_by_position"]
    assert final["val/coverage"] == 1
    characters = sum(len(title) + 5 for day in sides[1] for title in day)
    assert sum(one["characters"] for one in found) == record["data"]["validation_characters"] == characters
    assert sum(one["nats"] for one in found) / characters == pytest.approx(final["val/nats_per_char"], rel=1e-5)
    assert sum(one["tokens"] for one in found) == record["data"]["validation_tokens"]
    assert found[0]["documents"] == record["data"]["validation_documents"] == len(sides[1])
    assert found[-1]["first"] < record["data"]["longest_document_tokens"]


@pytest.mark.slow
def test_evaluate_gives_the_numbers_of_days_back_and_others_of_titles_alone(run, sides, capfd, tmp_path):
    path, final = write_days(tmp_path / "days.csv", sides[1]), record_of(run)["metrics"]["final"]
    result, said = scored(capfd, tmp_path, run, f"data.path={path}", "--by-position", "--all-metrics")
    for name in ("val/nats_per_char", "val/loss", "val/coverage", "val/nats_per_char_se", "val/bits_per_byte"):
        assert result["metrics"][name] == pytest.approx(final[name], rel=1e-5), name
    assert result["data"]["documents"] == len(sides[1]) and result["seen_titles"] == 0
    assert result["metrics_unseen"] == result["metrics"]
    rows = record_of(run)["nats_by_position"]
    assert [one["nats"] for one in result["nats_by_position"]] == pytest.approx([one["nats"] for one in rows], rel=1e-5)
    assert f" in {len(sides[1])} documents;" in said and "16 to 31" in said
    alone, _ = scored(capfd, tmp_path, run, f"data.path={path}", "data.join=none")
    config, module = load_run(run)
    expected = ScoredTitles(module, [title for day in sides[1] for title in day], config.data).metrics()
    assert alone["metrics"] == pytest.approx(expected, rel=1e-6)
    assert alone["metrics"]["val/nats_per_char"] != result["metrics"]["val/nats_per_char"]
    assert "documents" not in alone["data"] and "nats_by_position" not in alone


@pytest.mark.slow
def test_days_that_have_a_training_title_are_set_apart(run, sides, capfd, tmp_path):
    days = [sides[1][0], [*sides[0][0][:3], *(f"New title {number}" for number in range(4))]]
    path = write_days(tmp_path / "days.csv", days)
    result, _ = scored(capfd, tmp_path, run, f"data.path={path}")
    unseen, _ = scored(capfd, tmp_path, run, f"data.path={write_days(tmp_path / 'new.csv', days[:1])}")
    name = "val/nats_per_char"
    assert result["seen_titles"] == 3
    assert result["metrics_unseen"][name] == pytest.approx(unseen["metrics"][name], rel=1e-6)
    assert result["metrics"]["val/loss"] != result["metrics_unseen"]["val/loss"]


@pytest.mark.slow
def test_a_file_without_times_is_not_scored_by_days(run, capfd, tmp_path):
    (tmp_path / "titles.csv").write_text("title\none\n")
    for more, said in (((), "data.time_column=created: "), (("data.join=week",), "data.join=week: one of none day")):
        ended = run_script(capfd, "evaluate", run, f"data.path={tmp_path}/titles.csv", *more)
        assert ended.status == 2 and ended.stderr.startswith(said) and len(ended.stderr.splitlines()) <= 2


@pytest.mark.slow
def test_a_test_set_is_scored_by_days(sides, tmp_path):
    path = write_days(tmp_path / "days.csv", sides[1])
    tested = train_tiny(tmp_path / "run", *DAYS, "test=true", f"data.test_path={path}")
    record = record_of(tested)
    found = record["test"]["metrics"]["test/nats_per_char"]
    assert found == pytest.approx(record["metrics"]["best"]["val/nats_per_char"], rel=1e-5)


@pytest.mark.slow
def test_runs_are_compared_by_days(run, sides, tmp_path):
    other = train_tiny(tmp_path / "other", *DAYS, "seed=3")
    nats = title_nats(run)
    assert len(nats.nll) == len(sides[1])
    assert nats.value == pytest.approx(record_of(run)["metrics"]["best"]["val/nats_per_char"], rel=1e-5)
    differences = compare([run, other])
    assert [one.titles for one in differences] == [len(sides[1])] * 2


@pytest.mark.slow
def test_what_scores_titles_one_by_one_refuses_days(run, capfd):
    for more in ((), ("data.join=day",)):
        ended = run_script(capfd, "evaluate", run, run, *more)
        assert ended.status == 2 and "data.join=day" in ended.stderr and len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
def test_without_best_weights_there_are_no_nats_by_position(command):
    ended = command(*TINY, *DAYS, "callbacks.best_checkpoint.save_top_k=0")
    assert ended.status == 2 and ended.stderr.startswith("callbacks.position_nats=") and "save_top_k" in ended.stderr


@pytest.mark.slow
def test_a_corpus_without_titles_has_no_nats_by_position(command):
    more = (
        "data=modular_arithmetic",
        "callbacks=position_nats",
        "model.d_model=32",
        "model.n_layer=1",
        "model.n_head=2",
    )
    ended = command(*more)
    assert ended.status == 2 and ended.stderr.startswith("callbacks.position_nats: ModularArithmetic has no titles")


@pytest.mark.slow
def test_a_run_on_days_that_broke_off_ends_with_the_same_bits(command, tmp_path, monkeypatch):
    words = (*TINY, *DAYS, "data.recase=0.5", "trainer.max_epochs=2", "model.dropout=0.2", "log_interval=1")
    whole, broken = (tmp_path / name for name in ("whole", "broken"))
    assert command(*words, f"hydra.run.dir={whole}").status == 0
    with monkeypatch.context() as patch:
        stop_at(patch, record_of(whole)["steps"] // 2 + 1, False, Interrupted("stopped"))
        assert command(*words, f"hydra.run.dir={broken}").status == 130
    assert "nats_by_position" not in record_of(broken)
    outcome = command(*words, f"hydra.run.dir={broken}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert same(checkpoint_of(whole)[part], checkpoint_of(broken)[part]), part
    assert losses_of(whole) == losses_of(broken) and same(weights_of(whole), weights_of(broken))
    assert record_of(whole)["nats_by_position"] == record_of(broken)["nats_by_position"]


@pytest.mark.slow
def test_a_run_on_titles_does_not_go_on_with_days(command, tmp_path):
    run = tmp_path / "run"
    words = (*TINY, "data.num_titles=450", f"hydra.run.dir={run}")
    assert command(*words, "trainer.max_steps=2").status == 0
    ended = command(*words, "trainer.max_steps=4", "data.join=day", "ckpt_path=last")
    assert ended.status == 2 and "data.join=day (was none)" in ended.stderr
