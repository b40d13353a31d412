"""Promises of a run that is finished: left alone, or continued where it is given more updates."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from messages import contents
from programs import record_of, train_tiny
from run_outputs import checkpoint_of, losses_of, same, stop_at
from tiny import TINY

from frontpage.command.endings import Interrupted
from frontpage.recipe.training_module import TrainingModule

# An epoch is 17 updates. A schedule that the run's length does not change, so that a longer one can be compared.
SHORT = ("trainer.max_steps=5", "trainer.max_epochs=2", "scheduler=constant", "model.dropout=0.2", "log_interval=1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("finished") / "run", *SHORT)


@pytest.mark.slow
def test_a_longer_run_goes_on_and_ends_as_one_that_was_planned_so(command, finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    outcome = command(*TINY, *SHORT, "trainer.max_steps=20", f"hydra.run.dir={copy}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    assert "the finished run of 5 updates goes on to 20" in outcome.stdout
    assert "trainer.max_steps=20 (was 5)" in outcome.stdout
    whole = train_tiny(tmp_path / "whole", *SHORT, "trainer.max_steps=20")
    for part in ("state_dict", "optimizer_states"):
        assert same(checkpoint_of(whole)[part], checkpoint_of(copy)[part])
    assert record_of(copy)["steps"] == 20 and record_of(copy)["status"] == "finished"
    assert losses_of(copy)[-1] == losses_of(whole)[-1]


@pytest.mark.slow
def test_a_longer_run_has_the_rates_of_its_own_schedule_from_its_first_update_on(monkeypatch, tmp_path):
    """The schedule of the shorter one ended at a rate of 0."""
    rates, usual = {}, TrainingModule.on_before_optimizer_step

    def told(self, optimizer):
        rates[self.trainer.global_step] = optimizer.param_groups[0]["lr"]
        usual(self, optimizer)

    monkeypatch.setattr(TrainingModule, "on_before_optimizer_step", told)
    falling = ("scheduler=linear", "trainer.max_epochs=2")
    run = train_tiny(tmp_path / "run", *falling, "trainer.max_steps=5")
    rates.clear()
    train_tiny(run, *falling, "trainer.max_steps=20", "ckpt_path=last")
    peak = rates[5] / (1 - 5 / 20)
    assert rates == {update: pytest.approx(peak * (1 - update / 20)) for update in range(5, 20)} and peak > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], "all 5 updates are done; a larger trainer.max_steps or trainer.max_epochs goes on"),
        (["trainer.max_steps=4"], "all 5 updates are done"),
        (["trainer.max_epochs=9"], "still ends it at 5"),  # more epochs, and yet not one more update
    ],
)
def test_a_finished_run_without_more_updates_says_so_and_stays_as_it_is(command, finished, overrides, words):
    before = contents(finished)
    outcome = command(*TINY, *SHORT, *overrides, f"hydra.run.dir={finished}", "ckpt_path=last")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert f"the run in {finished} is finished; nothing to do" in outcome.stdout and words in outcome.stdout
    assert contents(finished) == before


@pytest.mark.slow
def test_a_length_that_is_none_is_a_mistake_here_as_well(command, finished):
    before = contents(finished)
    outcome = command(*TINY, *SHORT, "trainer.max_steps=x", f"hydra.run.dir={finished}", "ckpt_path=last")
    assert outcome.status == 2 and "trainer.max_steps=x: must be a whole number" in outcome.stderr
    assert contents(finished) == before


@pytest.mark.slow
def test_a_test_set_asked_of_a_finished_run_is_not_passed_over_in_silence(command, finished, tmp_path):
    file = tmp_path / "test.txt"
    file.write_text("Show HN: a title\n")
    asked = ("test=true", f"data.test_path={file}", f"hydra.run.dir={finished}", "ckpt_path=last")
    outcome = command(*TINY, *SHORT, *asked)
    assert outcome.status == 0 and f"scripts/evaluate.py {finished} data.path={file}" in outcome.stdout


def test_a_run_that_stopped_early_is_finished_whatever_its_length(command, finished, tmp_path):
    """More updates are no reason to go on where another thing ended the run."""
    copy, reason = (
        shutil.copytree(finished, tmp_path / "copy"),
        "early stopping at update 5 of 9: val/loss got no better",
    )
    (copy / "run.json").write_text(json.dumps(record_of(copy) | {"reason": reason}))
    outcome = command(*TINY, *SHORT, "trainer.max_steps=9", f"hydra.run.dir={copy}", "ckpt_path=last")
    assert outcome.status == 0 and reason in outcome.stdout and "init_from=" in outcome.stdout
    assert record_of(copy)["steps"] == 5


def test_the_checkpoint_of_a_finished_run_says_what_it_belongs_to(finished):
    found = torch.load(finished / "checkpoints" / "last.ckpt", weights_only=True)["provenance"]
    assert found["tokenizer"] == (finished / "tokenizer.json").read_text(encoding="utf-8")
    assert found["titles"] == record_of(finished)["data"]["fingerprint"]
    assert found["model"]["n_head"] == 2 and found["tokenizer_settings"]["vocab_size"] == 300
    assert (found["started_from"], found["tokenizer_taken"]) == (None, False)


@pytest.mark.slow
def test_a_checkpoint_of_the_end_that_is_continued_in_a_new_folder_is_kept_there(command, tmp_path):
    """As a search does with a trial that was killed behind its last update."""
    arguments = (*TINY, "trainer.max_steps=4")
    assert command(*arguments, f"hydra.run.dir={tmp_path}/first").status == 0
    end = tmp_path / "first/checkpoints/last.ckpt"
    outcome = command(*arguments, f"ckpt_path={end}", f"hydra.run.dir={tmp_path}/second")
    assert outcome.status == 0, outcome.stderr
    first, second = (record_of(tmp_path / name) for name in ("first", "second"))
    assert second["status"] == "finished" and second["checkpoint"]["update"] == 4
    assert second["metrics"]["final"]["val/loss"] == first["metrics"]["final"]["val/loss"]
    kept = torch.load(tmp_path / "second/checkpoints/last.ckpt", weights_only=True)
    assert kept["global_step"] == 4 and same(kept["state_dict"], checkpoint_of(tmp_path / "first")["state_dict"])
    best = (checkpoint_of(tmp_path / name, "best") for name in ("first", "second"))
    assert same(*(one["state_dict"] for one in best))


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("val_interval=2",)], ids=str)
def test_a_run_that_is_stopped_in_its_last_validation_makes_up_for_it(command, tmp_path, monkeypatch, more):
    """With `max_steps` no update is left; the validation is."""
    arguments = (*TINY, "trainer.max_steps=4", "log_interval=1", *more)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert command(*arguments, f"hydra.run.dir={whole}").status == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 4, True, Interrupted("stopped"))
        assert command(*arguments, f"hydra.run.dir={broken}").status == 130
    outcome = command(*arguments, f"hydra.run.dir={broken}", "ckpt_path=last")
    assert outcome.status == 0, outcome.stderr
    one, other = record_of(whole), record_of(broken)
    assert other["status"] == "finished" and other["metrics"]["best"] == one["metrics"]["best"]
    assert other["metrics"]["final"].keys() == one["metrics"]["final"].keys()
    assert other["metrics"]["final"]["val/mainrun_loss"] == one["metrics"]["final"]["val/mainrun_loss"]
    assert same(*(checkpoint_of(run, "best")["state_dict"] for run in (whole, broken)))


@pytest.mark.slow
def test_the_best_that_a_kill_at_the_end_has_kept_from_the_disk_is_made_from_the_last(command, tmp_path):
    arguments = (*TINY, "trainer.max_steps=4", f"hydra.run.dir={tmp_path}/run")
    assert command(*arguments).status == 0
    expected = checkpoint_of(tmp_path / "run", "best")["state_dict"]
    (tmp_path / "run/checkpoints/best.ckpt").unlink()
    record = record_of(tmp_path / "run") | {"status": "running"}
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    assert command(*arguments, "ckpt_path=last").status == 0
    assert same(checkpoint_of(tmp_path / "run", "best")["state_dict"], expected)
    assert record_of(tmp_path / "run")["status"] == "finished"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"steps": None}, "all updates are done"),
        ({"config": {"callbacks": ["x"]}}, "all 5 updates are done"),
        ({"config": {"callbacks": 5}}, "all 5 updates are done"),
        ({"config": {"trainer": {"max_steps": 5, "max_epochs": 2, "max_time": 5}}}, "all 5 updates are done"),
    ],
)
def test_a_finished_run_with_a_damaged_record_is_finished_all_the_same(command, finished, tmp_path, damage, words):
    copy = shutil.copytree(finished, tmp_path / "copy")
    record = record_of(copy)
    (copy / "run.json").write_text(
        json.dumps(record | damage | {"config": record["config"] | damage.get("config", {})})
    )
    before = contents(copy)
    outcome = command(*TINY, *SHORT, f"hydra.run.dir={copy}", "ckpt_path=last")
    assert (outcome.status, outcome.stderr) == (0, "") and words in outcome.stdout
    assert contents(copy) == before


@pytest.mark.slow
@pytest.mark.parametrize("had", [f"{10**14}:00:00:00", {"days": 1e30}, {"weird": 1}, 5])
def test_a_run_that_had_a_time_beyond_all_limits_goes_on_as_one_with_more(command, finished, tmp_path, had):
    copy = shutil.copytree(finished, tmp_path / "copy")
    record = record_of(copy)
    record["config"]["trainer"]["max_time"] = had
    record["reason"] = "trainer.max_time was used up at update 5 of 34"
    (copy / "run.json").write_text(json.dumps(record))
    words = [*TINY, *SHORT, "trainer.max_steps=6", f"hydra.run.dir={copy}", "ckpt_path=last"]
    outcome = command(*words, "trainer.max_time='99999999999999:00:00:00'")
    assert outcome.status == 2 and "at most 999999999 days" in outcome.stderr
    outcome = command(*words, "trainer.max_time='00:01:00:00'")
    assert outcome.status == 0, outcome.stderr
    assert record_of(copy)["steps"] == 6
