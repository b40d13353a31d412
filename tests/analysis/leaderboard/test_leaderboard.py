"""Promises of the leaderboard: what a record says is what its runs were, and whether it holds is found out by value."""

import json
import math
import statistics

import numpy as np
import pytest
import torch
from programs import record_of, run_script, training_titles, write_csv

from frontpage.analysis.comparison import title_nats
from frontpage.analysis.leaderboard.page import cells
from frontpage.analysis.leaderboard.records import KeptRun, Record, read_record, record_names
from frontpage.analysis.leaderboard.repetition import check_experiment
from frontpage.analysis.leaderboard.scores import KeptScores, load_scores
from frontpage.analysis.leaderboard.tracks import TRACKS
from frontpage.analysis.leaderboard.verification import verdict_on

WIDE = "model.d_model=20"


def loss_of(run):
    return record_of(run)["metrics"]["best"]["val/nats_per_char"]


def test_the_page_in_docs_is_what_the_records_say(capfd):
    ended = run_script(capfd, "leaderboard", "--check")
    assert ended.status == 0, ended.stderr


@pytest.mark.slow
def test_a_record_may_change_its_experiment_and_says_what(enter, runs, board, verify):
    refused = enter("tiny", ["wide"])
    assert refused.status == 2 and "model.d_model=20 (there 16)" in refused.stderr
    assert enter("tiny", ["wide"], "--override", WIDE).status == 0
    assert f"`python train.py experiment=tiny_record {WIDE} seed=1`" in (board / "leaderboard.md").read_text()
    ended, verdict = verify("first", "--run", runs["wide"])
    assert ended.status == 0 and verdict["holds"], ended
    ended, verdict = verify("first", "--run", runs[1])
    assert ended.status == 2 and f"config is not that of experiment=tiny_record {WIDE}" in ended.stderr
    assert enter("tiny", ["wide"], "--override", "model.d_modle=20").status == 2


@pytest.mark.slow
def test_a_record_says_of_its_runs_what_they_were(enter, runs, board, capfd):
    assert enter("tiny", [1, 2]).status == 0
    losses = [loss_of(runs[seed]) for seed in (1, 2)]
    record, page = read_record("first"), (board / "leaderboard.md").read_text()
    error = statistics.stdev(losses) / math.sqrt(2)
    assert record.loss == pytest.approx(statistics.fmean(losses), rel=1e-6)
    assert record.error == pytest.approx(error, rel=1e-3)
    told = [record_of(runs[seed]) for seed in (1, 2)]
    for kept, loss in zip(record.runs, losses, strict=True):
        assert min(one["nats_per_char"] for one in kept.record["validations"]) == pytest.approx(loss, rel=1e-5)
    row = next(line for line in page.splitlines() if line.startswith("| [first]")).split(" | ")
    assert row[1] == f"{record.loss:.4f} ± {error:.4f} (seeds)" and row[4:9] == [
        "1, 2",
        "",
        "108",
        "1",
        f"{told[0]['training_flops']:.3g}",
    ]
    lasts = [one["metrics"]["final"]["val/nats_per_char"] for one in told]
    assert row[2] == f"{statistics.fmean(lasts):.4f}"
    assert row[10] == told[0]["processor"] and told[0]["git_commit"][:7] in row[11]
    assert "`python train.py experiment=tiny_record seed=1`): Nothing but a test." in page
    readme = (board / "README.md").read_text()
    best = next(line for line in readme.splitlines() if line.startswith("| Tiny: [first](docs/records/first) |"))
    assert best.split(" | ")[1:] == [row[1], row[6], f"{row[8]} |"]
    assert readme.startswith("# Before\n\n<!--") and readme.endswith("-->\n\nAfter.\n")
    assert str(runs["folder"]) not in "".join(path.read_text() for path in (board / "records").rglob("*.json"))
    assert run_script(capfd, "leaderboard", "--check").status == 0
    (board / "README.md").write_text(readme.replace(row[1], "0.0000 ± 0.0000 (seeds)"))
    assert run_script(capfd, "leaderboard", "--check").status == 1
    assert run_script(capfd, "leaderboard").status == 0 and (board / "README.md").read_text() == readme
    kept = board / "records" / "first" / "seed_1" / "run.json"
    kept.write_text(kept.read_text().replace('"path": null', '"path": "my.parquet"'))  # as of a file of titles
    assert run_script(capfd, "leaderboard", "--check").status == 1
    assert run_script(capfd, "leaderboard").status == 0
    assert "experiment=tiny_record seed=1 data.path=my.parquet`)" in (board / "leaderboard.md").read_text()


@pytest.mark.slow
def test_one_run_has_the_error_over_titles_and_the_second_its_paired_difference(enter, runs, board):
    assert enter("tiny", [1]).status == 0
    assert enter("tiny", [2], name="second").status == 0
    page = (board / "leaderboard.md").read_text()
    by_loss = sorted((loss_of(runs[seed]), seed) for seed in (1, 2))
    one, other = (title_nats(runs[seed]) for _, seed in by_loss)
    titles, characters = len(one.nll), one.characters
    difference = float((other.nll - one.nll).sum() / characters.sum())
    residual = other.nll - one.nll - difference * characters
    error = math.sqrt(titles / (titles - 1) * float((residual**2).sum())) / float(characters.sum())
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| [")]
    assert [row[3] for row in rows] == ["", f"{difference:+.4f} ± {error:.4f}"]
    kept = record_of(runs[by_loss[0][1]])["metrics"]["best"]["val/nats_per_char_se"]
    assert rows[0][1] == f"{by_loss[0][0]:.4f} ± {kept:.4f} (titles)"


@pytest.mark.slow
def test_a_repetition_holds_and_a_changed_score_does_not(enter, verify, runs, board):
    enter("tiny", [1])
    ended, result = verify("first", "--run", runs["again"])
    assert ended.status == 0 and result["holds"] and result["difference"] == pytest.approx(0, abs=1e-7), ended
    for more in (("--run", runs[1], runs["again"]), ("--seed", "7"), ("--run", runs[1], "--titles", "x.csv")):
        assert verify("first", *more)[0].status == 2, more
    place = board / "records" / "first" / "seed_1" / "titles.npz"
    kept = load_scores(place)
    KeptScores(kept.titles, kept.nll * 0.99, kept.characters).save(place)
    ended, result = verify("first", "--run", runs["again"])
    assert ended.status == 1 and not result["holds"] and "does not hold" in ended.stdout
    assert result["difference"] == pytest.approx(0.01 * result["value"], rel=1e-4)
    file = write_csv(board / "later.csv", ["A later title", "and another one"])
    ended, result = verify("first", "--run", runs["again"], "--later", file)
    assert ended.status == 1 and result["later"]["titles"] == 2 and "not kept" in ended.stdout
    assert not (board / "records" / "first" / "later.json").exists()


@pytest.mark.slow
def test_an_experiment_that_was_changed_does_not_hold(enter, verify, runs, board):
    enter("tiny", [1])
    kept = board / "records" / "first" / "seed_1" / "run.json"
    kept.write_text(kept.read_text().replace('"n_layer": 1', '"n_layer": 2'))
    ended, _ = verify("first", "--run", runs["again"])
    assert ended.status == 1 and "model.n_layer=1 (was 2)" in ended.stderr


def scores(nll, characters=10.0):
    nll = torch.tensor(nll, dtype=torch.float64)
    return KeptScores.of(np.arange(len(nll), dtype=np.uint64), nll, torch.full_like(nll, characters))


def record(*runs, track="tiny", averaged=None):
    found = [KeptRun(seed, {}, scores(nll)) for seed, nll in enumerate(runs, start=1)]
    return Record("r", TRACKS.get(track), "e", None, "", found, averaged, [])


def test_verdicts_by_value():
    """10 characters a title: nats 11, 13 a title are 1.2 nats a character."""
    one = record([11.0, 13.0])
    same = verdict_on(one, 1, scores([11.0, 13.0]))
    assert same.holds and same.difference == same.error == 0
    assert not verdict_on(one, 1, scores([11.1, 13.1])).holds  # each title worse, and one seed has no spread
    shaken = verdict_on(one, 1, scores([11.5, 12.9]))  # differences 0.5 and -0.1: mean 0.2, deviation 0.3 * sqrt(2)
    assert shaken.difference == pytest.approx(0.02) and shaken.error == pytest.approx(0.03) and shaken.holds
    several = record([11.0, 13.0], [11.2, 13.2], [11.4, 13.4])  # 1.20 1.22 1.24: a deviation of 0.02
    known, new = verdict_on(several, 3, scores([11.9, 13.9])), verdict_on(several, 9, scores([11.6, 13.6]))
    assert (known.kept, known.difference) == pytest.approx((1.24, 0.05), rel=1e-5)
    assert known.error == pytest.approx(0.02 * math.sqrt(2), rel=1e-5) and known.holds
    assert (new.kept, new.difference) == pytest.approx((1.22, 0.04), rel=1e-5)
    assert new.error == pytest.approx(0.02 * math.sqrt(4 / 3), rel=1e-5) and new.holds
    assert not verdict_on(several, 9, scores([11.7, 13.7])).holds  # 0.05 above 2 * 0.0231
    assert not verdict_on(several, 9, scores([10.7, 12.7])).holds  # nor below: it says another thing


def test_the_last_validation_stands_beside_the_best():
    board = record([11.0, 13.0], [11.2, 13.2])
    assert board.last is None and cells(board, board)["last"] == ""
    for run, value in zip(board.runs, (1.25, 1.28), strict=True):
        run.record.update({"metrics": {"final": {"val/nats_per_char": value}}})
    assert board.last == pytest.approx(1.265) and cells(board, board)["last"] == "1.2650"
    assert record([11.0], averaged=scores([10.0])).last is None


@pytest.mark.slow
@pytest.mark.parametrize("name", record_names())
def test_the_experiments_of_all_records_are_today_what_they_were(name):
    check_experiment(read_record(name))


def test_scores_are_kept_small_and_come_back(tmp_path):
    hashes = np.random.default_rng(0).permutation(10_000).astype(np.uint64)
    nll = torch.rand(10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 60
    kept = KeptScores.of(hashes, nll, torch.full_like(nll, 50.0))
    kept.save(tmp_path / "titles.npz")
    found = load_scores(tmp_path / "titles.npz")
    assert (tmp_path / "titles.npz").stat().st_size < 80_000
    assert found.titles == kept.titles != KeptScores.of(hashes[1:], nll[1:], nll[1:]).titles
    assert torch.equal(found.nll, kept.nll) and torch.equal(found.characters, kept.characters)
    assert torch.allclose(kept.nll[hashes.astype(int)], nll, rtol=1e-7)


@pytest.mark.slow
def test_later_titles_are_scored_once_without_those_that_were_trained_or_validated_on(
    enter,
    verify,
    runs,
    board,
):
    enter("tiny", [1])
    trained, validated = training_titles(runs[1])
    new = [f"A later title, number {number}" for number in range(6)]
    file = write_csv(board / "later.csv", [*new, *trained[:3], *validated[:2], new[0]])
    ended, result = verify("first", "--run", runs["again"], "--later", file)
    later = result["later"]
    assert ended.status == 0 and (later["titles"], later["trained_on"], later["validated_on"]) == (6, 3, 2)
    alone = run_json(runs["again"], write_csv(board / "new.csv", new))
    assert later["value"] == pytest.approx(alone["val/nats_per_char"], rel=1e-6)
    assert later["error"] == pytest.approx(alone["val/nats_per_char_se"], rel=1e-4)
    assert f"{later['value']:.4f}" not in (board / "leaderboard.md").read_text()
    ended, result = verify("first", "--run", runs[1], "--later", file)
    assert result["later"] == later and "on, not " not in ended.stderr
    assert len(json.loads((board / "records" / "first" / "later.json").read_text())) == 1
    assert enter("tiny", [1], about=()).status == 0  # entered again, what was scored stays
    assert f"{later['value']:.4f} ± {later['error']:.4f} (6 titles)" in (board / "leaderboard.md").read_text()


def run_json(run, file):
    """The metrics of a file's titles, as scripts/evaluate.py has them."""
    from frontpage.evaluation.scored_titles import ScoredTitles
    from frontpage.runs.reopen import load_run

    config, module = load_run(run)
    return ScoredTitles(module, file.read_text().replace('"', "").splitlines()[1:], config.data).metrics()


@pytest.mark.slow
def test_an_ensemble_is_entered_and_repeated_as_a_whole(enter, verify, runs, board, capfd):
    assert enter("ensembles", [1, 2]).status == 0
    found = read_record("first")
    output = board / "ensemble.json"
    assert run_script(capfd, "evaluate", runs[1], runs[2], "--json", output).status == 0
    metrics = json.loads(output.read_text())["metrics"]
    assert found.loss == pytest.approx(metrics["val/nats_per_char"], rel=1e-6)
    assert found.error == pytest.approx(metrics["val/nats_per_char_se"], rel=1e-4)
    assert found.work("titles_shown") == 216
    ended, result = verify("first", "--run", runs[2], runs["again"])
    assert ended.status == 0 and result["difference"] == pytest.approx(0, abs=1e-7), ended
    assert verify("first", "--run", runs[2])[0].status == 2
    assert verify("first", "--seed", "2")[0].status == 2


@pytest.mark.slow
def test_a_record_of_work_reaches_what_it_says(enter, runs, board):
    order = sorted((1, 2), key=lambda seed: loss_of(runs[seed]))
    assert enter("tiny", [order[1]], name="aim").status == 0
    assert enter("work", [order[0]], "--reaches", "aim", name="sprint").status == 0
    assert "aim, 100.0% of its FLOPs" in (board / "leaderboard.md").read_text()
    assert enter("tiny", [order[0]], name="aim").status == 0
    ended = enter("work", [order[1]], "--reaches", "aim", name="slow")
    assert ended.status == 2 and "not reached" in ended.stderr and not (board / "records" / "slow").exists()


@pytest.mark.slow
def test_a_record_is_trained_again_by_its_name_with_its_own_seed_and_with_a_new_one(enter, verify, board):
    enter("tiny", [1, 2])
    ended, result = verify("first", "--folder", board / "again")
    assert ended.status == 0 and result["difference"] == pytest.approx(0, abs=1e-7), ended
    assert result["runs"] == [str(board / "again" / "seed_1")]
    ended, result = verify("first", "--seed", "7", "--folder", board / "new")
    assert result["of"] == "the mean of 2 seeds" and 0 < abs(result["difference"]) < 0.5
    assert ended.status == (0 if result["holds"] else 1)
