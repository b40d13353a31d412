"""Promises of what is no record: it is refused in one line or two, and what was there stays as it was."""

import shutil

import pytest
from programs import record_of, run_script

from frontpage.analysis.leaderboard.records import read_record
from frontpage.analysis.leaderboard.scores import KeptScores, load_scores


def loss_of(run):
    return record_of(run)["metrics"]["best"]["val/nats_per_char"]


MISTAKES = {
    "another track's titles": ("small", [1], (), "small: is of 20,000 titles"),
    "a seed twice": ("tiny", [1, "again"], (), "its seed is 1"),
    "no aim": ("work", [1], (), "--reaches"),
    "an aim elsewhere": ("tiny", [1], ("--reaches", "first"), "only a record of the least work"),
    "no aim of that name": ("work", [1], ("--reaches", "none"), "no such record"),
    "a name with a slash": ("tiny", [1], ("--name", "a/b"), "a/b"),
    "no run": ("tiny", ["nothing"], (), "no run.json"),
    "another experiment": ("tiny", [1], ("--experiment", "quickstart"), "its config is not that of"),
    "no experiment": ("tiny", [1], ("--experiment", "nothing"), "cannot be composed"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_a_record_is_refused_and_nothing_is_written(mistake, enter, board):
    track, seeds, words, said = MISTAKES[mistake]
    ended = enter(track, seeds, *words)
    assert ended.status == 2 and said in ended.stderr, ended
    assert len(ended.stderr.splitlines()) <= 2 and not (board / "records").exists()


CHANGES = {
    "another setting": ('"dropout": 0.1', '"dropout": 0.2', "model.dropout=0.2 (there 0.1)"),
    "titles shown too often": ('"titles_shown": 108', '"titles_shown": 864', "shown 864 titles; at most 7 times each"),
    "not finished": ('"status": "finished"', '"status": "running"', "its status is running"),
    "out of time": ('"reason": null', '"reason": "trainer.max_time was used up"', "would end elsewhere"),
    "other weights": ('"init_from": null', '"init_from": "logs/other"', "init_from"),
    "two devices": ('"world_size": 1', '"world_size": 2', "it had 2 processes and so 2 times the rows an update"),
    "another loss": ('"steps"', '"steps"', "its best checkpoint scores"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_that_is_not_what_it_should_be_is_refused(change, enter, runs, board):
    before, after, said = CHANGES[change]
    copy = shutil.copytree(runs[1], board / "copy")
    text = (copy / "run.json").read_text()
    assert before in text
    if change == "another loss":
        text = text.replace(str(loss_of(copy)), str(0.9 * loss_of(copy)))
    (copy / "run.json").write_text(text.replace(before, after))
    ended = enter("tiny", [copy])
    assert ended.status == 2 and said in ended.stderr, ended


def test_a_record_needs_its_paragraph(enter):
    ended = enter("tiny", [1], about=())
    assert ended.status == 2 and "--about" in ended.stderr


@pytest.mark.slow
def test_a_record_of_other_titles_is_refused_where_a_track_is_of_so_many(enter, board):
    assert enter("tiny", [1]).status == 0
    place = board / "records" / "first" / "seed_1" / "titles.npz"
    kept = load_scores(place)
    KeptScores("of other titles", kept.nll, kept.characters).save(place)
    ended = enter("tiny", [2], name="second")
    assert ended.status == 2 and "was not validated on the titles of first" in ended.stderr, ended
    assert not (board / "records" / "second").exists()
    assert enter("tiny", [2]).status == 0, "the only record of its track may be replaced"


TAUGHT = """"technique": {"distillation": {
    "_target_": "frontpage.recipe.techniques.distillation.Distillation",
    "teacher": ["logs/other"], "temperature": 1.0, "weight": 0.5}}"""


@pytest.mark.slow
def test_a_student_of_other_runs_stands_among_the_ensembles_alone(enter, runs, board):
    student = shutil.copytree(runs[1], board / "student")
    text = (student / "run.json").read_text()
    assert '"technique": {}' in text
    (student / "run.json").write_text(text.replace('"technique": {}', TAUGHT))
    recipe = ("model/technique=distillation", "model.technique.distillation.teacher=[logs/other]")
    words = [word for override in recipe for word in ("--override", override)]
    ended = enter("tiny", [student], *words)
    assert ended.status == 2 and "learnt from other runs (model.technique.distillation.teacher)" in ended.stderr, ended
    assert enter("ensembles", [student], *words).status == 0
    second = shutil.copytree(runs[2], board / "second")
    (second / "run.json").write_text((second / "run.json").read_text().replace('"technique": {}', TAUGHT))
    assert enter("ensembles", [student, second], *words).status == 0
    record = read_record("first")
    losses = [float(run.scores.nll.sum() / run.scores.characters.sum()) for run in record.runs]
    assert record.loss == pytest.approx(sum(losses) / 2) and record.spread is not None, "no average of their answers"


@pytest.mark.slow
def test_a_record_of_work_that_no_longer_reaches_its_aim_says_so(enter, verify, runs, board, capfd):
    assert enter("tiny", [1], name="aim").status == 0
    assert enter("work", ["again"], "--reaches", "aim", name="sprint").status == 0
    ended = enter("work", ["again"], "--reaches", "sprint", name="sprint", about=())
    assert ended.status == 2 and "--reaches=sprint: the record itself" in ended.stderr
    place = board / "records" / "aim" / "seed_1" / "titles.npz"
    kept = load_scores(place)
    KeptScores(kept.titles, kept.nll * 0.99, kept.characters).save(place)
    assert run_script(capfd, "leaderboard").status == 0
    assert "| aim, no longer reached |" in (board / "leaderboard.md").read_text()
    ended, _ = verify("sprint", "--run", runs["again"])
    loss, aim = read_record("sprint").loss, read_record("aim").loss
    said = f"the record does not hold: its loss is {loss:.6f}, and that of aim is now {aim:.6f}: no longer reached"
    assert (ended.status, ended.stderr) == (1, f"{said}\n")
