"""Runs with every technique at once: what they record and log, that they resume to the bit, and what is refused."""

import csv
import json

import pytest
from messages import check_message
from programs import record_of
from run_outputs import checkpoint_of, losses_of, same, stop_at
from tiny import TINY, composed, options

from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.runs.reopen import load_run
from frontpage.runs.run import Run
from frontpage.runs.training_titles import load_training_titles, save_training_titles
from frontpage.training.preflight import check_values

RUN = (*TINY, "model.dropout=0.2", "trainer.accumulate_grad_batches=2", "log_interval=1", "val_interval=4")
NAMES = options("model/technique")


def with_all(teacher):
    return (
        *RUN,
        f"model/technique=[{','.join(NAMES)}]",
        f"model.technique.distillation.teacher={teacher}",
        "trainer.max_epochs=2",
        "save_interval=3",
    )


def nats_of(directory):
    """The logged nats of the next token, in order."""
    with (directory / "metrics.csv").open() as file:
        return [float(row["train/next_token_loss"]) for row in csv.DictReader(file) if row["train/next_token_loss"]]


@pytest.fixture
def taught(command, tmp_path):
    """The overrides of a run with all techniques, whose teacher is there."""
    assert command(*TINY, "trainer.max_steps=2", f"hydra.run.dir={tmp_path}/teacher").status == 0
    return with_all(tmp_path / "teacher")


@pytest.mark.slow
def test_a_run_with_all_techniques_is_told_and_resumes_to_the_bit(command, tmp_path, monkeypatch, taught):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert command(*taught, f"hydra.run.dir={whole}").status == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 7, False, RuntimeError("crash"))
        with pytest.raises(RuntimeError, match="crash"):
            command(*taught, f"hydra.run.dir={broken}")
    outcome = command(*taught, f"hydra.run.dir={broken}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    for part in ("state_dict", "optimizer_states"):
        assert same(checkpoint_of(whole)[part], checkpoint_of(broken)[part])
    assert losses_of(whole) == losses_of(broken)

    told = nats_of(whole)
    assert told == nats_of(broken) and len(told) == record_of(whole)["steps"]
    record = record_of(whole)
    assert "***" not in json.dumps(record["config"]["model"]), "an option whose name is that of a secret"
    assert record["passes_per_title"] == 2 and record["training_flops"] == record_of(broken)["training_flops"]
    final = record["metrics"]["final"]
    assert final["train/next_token_loss"] == told[-1] != final["train/loss"]
    _, module = load_run(whole)
    assert module.passes == 2 and not any("teacher" in name for name in checkpoint_of(whole)["state_dict"])


@pytest.mark.slow
def test_a_run_with_one_technique_says_its_passes_and_its_next_token_loss(command, run_directories):
    assert command(*TINY, "model/technique=[r_drop]", "trainer.max_steps=2", "log_interval=1").status == 0
    record = json.loads((run_directories()[0] / "run.json").read_text())
    assert record["passes_per_title"] == 2 and record["config"]["model"]["technique"]["r_drop"]["alpha"] == 2.0
    assert record["metrics"]["final"]["train/next_token_loss"] < record["metrics"]["final"]["train/loss"]


@pytest.mark.parametrize(
    ("name", "changed", "pieces"),
    [
        ("distillation", "teacher=null", ["teacher=null", "a run's directory"]),
        ("distillation", "teacher=[]", ["teacher=[]", "a run's directory"]),
        ("distillation", "weight=1.5", ["weight=1.5", "at most 1"]),
        ("span_dropout", "length=1.05", ["length=1.05", "at least 1.11"]),
    ],
)
def test_what_a_technique_refuses_is_named_by_its_key(name, changed, pieces):
    teacher = ["model.technique.distillation.teacher=there"] if name == "distillation" else []
    config = composed(*TINY, f"model/technique=[{name}]", *teacher, f"model.technique.{name}.{changed}")
    check_values(config)
    with pytest.raises(UserError) as error:
        build(config.model, "model", vocab_size=300)
    check_message(f"{error.value}\n", [f"model.technique.{name}.{pieces[0]}", *pieces[1:]])


@pytest.mark.slow
@pytest.mark.parametrize("lacking", ["nothing there", "a run of other tokens"])
def test_a_teacher_that_is_none_is_refused_in_one_line(command, tmp_path, lacking):
    teacher = tmp_path / "teacher"
    if lacking != "nothing there":
        others = (*TINY, "tokenizer.vocab_size=290", "trainer.max_steps=1", f"hydra.run.dir={teacher}")
        assert command(*others).status == 0
    outcome = command(*with_all(teacher))
    assert outcome.status == 2
    piece = "tokenizer" if lacking != "nothing there" else "not a run's directory"
    check_message(outcome.stderr, [f"model.technique.distillation.teacher={teacher}", piece])


@pytest.mark.slow
def test_a_teacher_that_knows_held_out_titles_is_refused_and_what_another_knows_counts_as_seen(command, tmp_path):
    file = tmp_path / "titles.txt"
    file.write_text("".join(f"Show HN: the {number}th program of its kind\n" for number in range(200)))
    titles = (*TINY, "data=hn_titles", f"data.path={file}", "tokenizer=bytes", "trainer.max_steps=1")
    titles += ("data.num_titles=200", "data.block_size=32", "data.batch_size=4")
    student = (*titles, "model/technique=distillation")
    for name, split in (("other", "data.seed=5"), ("same", "data.seed=1337")):
        assert command(*titles, split, f"hydra.run.dir={tmp_path}/{name}").status == 0
    outcome = command(*student, f"model.technique.distillation.teacher={tmp_path}/other")
    assert outcome.status == 2, outcome
    check_message(outcome.stderr, [f"model.technique.distillation.teacher={tmp_path}/other", "that are held out here"])
    known = load_training_titles(Run(tmp_path / "same"))
    save_training_titles(Run(tmp_path / "same"), ["a title that only the teacher has read"], known)
    teacher = f"model.technique.distillation.teacher={tmp_path}/same"
    assert command(*student, teacher, f"hydra.run.dir={tmp_path}/student").status == 0
    assert len(load_training_titles(Run(tmp_path / "student"))) == len(known) + 1
