"""A run that runs out of memory says what would fit, and `trainer.fit_batch` finds it beforehand."""

import json

import pytest
import torch
from programs import train_tiny
from tiny import TINY

import frontpage.training.memory.fit_batch
from frontpage.training.memory.out_of_memory import is_out_of_memory

ROWS = ("data.batch_size=12", "trainer.accumulate_grad_batches=2", "trainer.max_steps=4", "model.dropout=0")


def record(directory):
    return json.loads((directory / "run.json").read_text())


def weights(directory):
    return torch.load(directory / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def memory(monkeypatch):
    """memory(bytes) is what the machine has free from then on."""
    return lambda free: monkeypatch.setattr(frontpage.training.memory.fit_batch, "free_bytes", lambda device: free)


@pytest.fixture
def needs(monkeypatch):
    """Training needs as many bytes as a micro-batch has rows, times 100."""
    monkeypatch.setattr(
        frontpage.training.memory.fit_batch, "needed", lambda trainer, data, model, micro, *_: 100 * micro
    )


def test_the_systems_own_error_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.slow
def test_running_out_of_memory_names_the_estimate_the_batch_and_what_fits(command, tmp_path, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("frontpage.recipe.language_module.next_token_loss", full)
    ended = command(*TINY, "data.batch_size=64", f"hydra.run.dir={tmp_path / 'run'}")
    assert ended.status == 2
    said = ended.stderr.splitlines()
    assert len(said) == 2
    assert "data.batch_size=64: out of memory; 64 x 32 tokens need an estimated 0.0" in said[0]
    assert "model.activation_checkpointing=full" in said[1] and "trainer.fit_batch=true" in said[1]
    smaller, accumulated = (int(part.split("=")[1].rstrip(",")) for part in said[1].split()[1:3])
    assert smaller < 64 and smaller * accumulated == 64
    assert record(tmp_path / "run")["status"] == "failed"
    assert "out of memory" in record(tmp_path / "run")["reason"]


@pytest.mark.slow
def test_another_error_stays_what_it_is(command, monkeypatch):
    def wrong(*args):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr("frontpage.recipe.language_module.next_token_loss", wrong)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        command(*TINY)


@pytest.mark.slow
def test_the_largest_micro_batch_that_fits_is_taken_and_nothing_else_changes(tmp_path, memory, needs):
    memory(100 * 7 / frontpage.training.memory.fit_batch.USED)  # 7 rows, of whose divisors of 24 the largest is 6
    fitted = train_tiny(tmp_path / "fitted", *ROWS, "trainer.fit_batch=true")
    asked = train_tiny(
        tmp_path / "asked", *ROWS, "data.batch_size=6", "trainer.accumulate_grad_batches=4", "trainer.fit_batch=false"
    )
    for run in map(record, (fitted, asked)):
        assert (run["micro_batch"], run["accumulate_grad_batches"], run["steps"]) == (6, 4, 4)
    for one, other in zip(weights(fitted).values(), weights(asked).values(), strict=True):
        assert torch.equal(one, other)
    assert "micro-batches of 6 rows" in " ".join(record(fitted)["notices"])
    whole = train_tiny(tmp_path / "whole", *ROWS, "data.batch_size=24", "trainer.accumulate_grad_batches=1")
    for one, other in zip(weights(fitted).values(), weights(whole).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-4)  # the same update, summed in another order


@pytest.mark.slow
def test_a_resumed_run_keeps_its_micro_batch(tmp_path, memory, needs):
    memory(100 * 7 / frontpage.training.memory.fit_batch.USED)
    run = train_tiny(tmp_path / "run", *ROWS, "trainer.fit_batch=true", "trainer.max_time=00:00:00:01")
    settings = record(run)
    settings["status"] = "interrupted"
    (run / "run.json").write_text(json.dumps(settings))
    memory(100 * 3 / frontpage.training.memory.fit_batch.USED)
    train_tiny(run, *ROWS, "trainer.fit_batch=true", "ckpt_path=last", "trainer.max_steps=6")
    assert record(run)["micro_batch"] == 6 and record(run)["steps"] == 6


@pytest.mark.slow
def test_a_run_that_goes_on_elsewhere_keeps_its_micro_batch_and_refuses_another(command, tmp_path, memory, needs):
    memory(100 * 7 / frontpage.training.memory.fit_batch.USED)
    run = train_tiny(tmp_path / "run", *ROWS, "trainer.fit_batch=true", "trainer.max_steps=2")
    memory(100 * 3 / frontpage.training.memory.fit_batch.USED)
    goes_on = (*TINY, *ROWS, "trainer.max_steps=3", f"ckpt_path={run}/checkpoints/last.ckpt")
    new = ("trainer.fit_batch=true", f"hydra.run.dir={tmp_path}/new")
    assert command(*goes_on, *new).status == 0 and record(tmp_path / "new")["micro_batch"] == 6
    named = "data.batch_size=6", "trainer.accumulate_grad_batches=4"
    for words, said in {
        (): "data.batch_size=12 (was 6), trainer.accumulate_grad_batches=2 (was 4)",
        named[:1]: "trainer.accumulate_grad_batches=2 (was 4)",
        named[1:]: "data.batch_size=12 (was 6)",
    }.items():
        ended = command(*goes_on, "trainer.fit_batch=false", *words)
        assert ended.status == 2 and said in ended.stderr, ended.stderr
    ended = command(*goes_on, "data.batch_size=24", "trainer.fit_batch=true")  # 48 rows an update
    assert ended.status == 2 and "data.batch_size=24 (was 12)" in ended.stderr, ended.stderr
    plainly = "trainer.fit_batch=false", *named, f"hydra.run.dir={tmp_path}/plainly"
    assert command(*goes_on, *plainly).status == 0
    for one, other in zip(weights(tmp_path / "new").values(), weights(tmp_path / "plainly").values(), strict=True):
        assert torch.equal(one, other)
    plain = train_tiny(tmp_path / "plain", *ROWS, "trainer.max_steps=2")
    ended = command(
        *TINY, *ROWS, "trainer.max_steps=3", f"ckpt_path={plain}/checkpoints/last.ckpt", "trainer.fit_batch=true"
    )
    assert ended.status == 2 and "trainer.fit_batch=true: false: a run that goes on keeps" in ended.stderr


@pytest.mark.slow
def test_a_model_of_which_not_one_row_fits_is_refused(command, memory, needs):
    memory(50)
    ended = command(*TINY, "trainer.fit_batch=true")
    assert ended.status == 2
    assert "trainer.fit_batch=true: true needs memory for one row of 32 tokens" in ended.stderr


@pytest.mark.slow
def test_the_estimate_decides_on_real_sizes(tmp_path, memory):
    memory(2**40)
    roomy = train_tiny(tmp_path / "roomy", *ROWS, "trainer.fit_batch=true")
    assert record(roomy)["micro_batch"] == 24  # all rows of an update at once


@pytest.mark.parametrize("error", [NotImplementedError, RuntimeError])
def test_a_layer_that_looks_at_numbers_is_named_in_place_of_a_traceback(tmp_path, memory, monkeypatch, capfd, error):
    """What the memory of a step is cannot be told then; a run without `fit_batch` says so and trains."""

    def fails(*unused, **more):
        raise error("data dependent")

    memory(2**40)
    monkeypatch.setattr(frontpage.training.memory.fit_batch, "estimate_training", fails)
    with pytest.raises(SystemExit) as ended:
        train_tiny(tmp_path / "run", *ROWS, "trainer.fit_batch=true")
    said = capfd.readouterr().err
    assert ended.value.code == 2 and said.startswith(
        f"trainer.fit_batch=true: false, since what a step holds cannot be told ({error.__name__}: data dependent)"
    )
