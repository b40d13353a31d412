"""The promise of impossible sizes: refused in one line before anything of that size is made."""

import pytest
import torch
from tiny import TINY, composed

from frontpage.command.build import build
from frontpage.command.errors import Infeasible, UserError
from frontpage.machine.memory import machine_memory
from frontpage.training import preflight
from frontpage.training.memory import feasible
from frontpage.training.memory.estimate import MOST_TOKENS, TrainingMemory, estimate_training
from frontpage.training.memory.feasible import check_size, check_step
from frontpage.training.preflight import check_config, check_fits

SMALL = ("model.n_layer=1", "model.d_model=32", "model.n_head=4")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["data.block_size=10000000"], "data.block_size=10000000"),
        (["data.block_size=1000000000", "model/attention=sliding_window"], "data.block_size=1000000000"),
        (["model.d_model=1000000000000"], "model.d_model=1000000000000"),
        (["model.d_model=4000000"], "model.d_model=4000000"),
        (["model.d_ff=1000000000000"], "model.d_ff=1000000000000"),
        (["model.n_layer=10000", "model.d_model=8192"], "model.n_layer=10000"),
        (["model.n_layer=100000"], "model.n_layer=100000"),
        (["callbacks.sample_titles.num=1000000000"], "callbacks.sample_titles.num=1000000000"),
    ],
    ids=str,
)
def test_what_no_machine_holds_is_refused_at_once(overrides, key):
    with pytest.raises(UserError) as raised:
        check_config(composed(*SMALL, *overrides))
    assert str(raised.value).startswith(f"{key}: ") and "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a card's memory is asked with the plan of the run")
def test_a_block_of_which_no_row_can_be_trained_on(monkeypatch):
    monkeypatch.setattr(feasible, "machine_memory", lambda: 16 * 2**30)
    with pytest.raises(Infeasible, match="data.block_size=100000: one row needs an estimated .* GiB; this machine"):
        check_size(composed(*SMALL, "data.block_size=100000"))
    check_size(composed(*SMALL, "data.block_size=100000", "model/attention=gated_delta"))  # needs no square


def test_many_layers_are_added_up_as_they_are_built():
    config = composed(*SMALL, "model.n_layer=5")
    net = build(config.model, "model", vocab_size=feasible.SMALLEST_VOCABULARY).net
    bytes_built = sum(one.numel() * one.itemsize for one in (*net.parameters(), *net.buffers()))
    one, two = (sum(feasible._size(config, n_layer=count)) for count in (1, 2))
    assert one + 4 * (two - one) == bytes_built


def test_a_step_that_the_machine_cannot_hold_is_refused():
    check_step(TrainingMemory(*[0] * 6, machine_memory()), 8, 32)
    with pytest.raises(Infeasible, match="data.batch_size=8 data.block_size=32: training needs an estimated") as raised:
        check_step(TrainingMemory(*[0] * 6, machine_memory() + 1), 8, 32)
    assert raised.value.estimated_memory_bytes == machine_memory() + 1


@pytest.mark.slow
def test_a_large_batch_is_on_the_line_through_smaller_ones(monkeypatch):
    config = composed(*SMALL, "data.block_size=64")
    model = build(config.model, "model", vocab_size=300)
    exact = estimate_training(model.net, model.make_optimizer, 8192, 64)
    assert MOST_TOKENS >= 8192 * 64 / 2
    monkeypatch.setattr("frontpage.training.memory.estimate.MOST_TOKENS", 2**17)
    found = estimate_training(model.net, model.make_optimizer, 8192, 64)
    assert found.total == pytest.approx(exact.total, rel=0.05)


def needed(config, card=False):
    """Bytes of a step of the config's net with the smallest vocabulary, built with numbers."""
    model = build(config.model, "model", vocab_size=feasible.SMALLEST_VOCABULARY)
    sizes = {"document_mask": model.document_mask, "loss": model.planned_loss, "card": card}
    sizes["precision"] = config.trainer.precision
    found = estimate_training(model.net, model.make_optimizer, config.data.batch_size, config.data.block_size, **sizes)
    return found.on_card() if card else found.total


FP32 = ("trainer.accelerator=cpu", "trainer.precision=32-true", "data.batch_size=8", "data.block_size=32")


@pytest.mark.slow
def test_a_large_net_without_memory_for_a_step_is_refused_before_it_is_built(monkeypatch):
    config = composed(*SMALL, *FP32)
    there = needed(config)
    monkeypatch.setattr(preflight, "LARGE", 1)
    monkeypatch.setattr(feasible, "machine_memory", lambda: there)
    check_config(config, to_train=True)
    monkeypatch.setattr(feasible, "machine_memory", lambda: there - 1)
    check_config(config)  # what only asks for sizes
    monkeypatch.setattr(preflight, "_check_recipe", lambda config: pytest.fail("it was built"))
    with pytest.raises(Infeasible, match="data.batch_size=8 data.block_size=32: training needs an estimated") as raised:
        check_config(config, to_train=True)
    assert raised.value.estimated_memory_bytes == there
    check_fits(composed(*SMALL, *FP32, "trainer.fit_batch=true"))  # one row fits
    monkeypatch.setattr(preflight, "LARGE", 10**9)
    check_fits(config)


@pytest.mark.slow
def test_a_gpus_own_memory_is_asked_where_there_is_one(monkeypatch):
    config = composed(*SMALL, *FP32, "trainer.precision=16-mixed")  # in which a CPU's kernels keep other copies
    free = needed(config, card=True)
    monkeypatch.setattr(preflight, "LARGE", 1)
    monkeypatch.setattr(preflight, "find_accelerator", lambda asked: "cuda")
    monkeypatch.setattr(preflight, "free_memory", lambda device: (free, 2**40))
    check_fits(config)
    monkeypatch.setattr(preflight, "free_memory", lambda device: (free - (device.index != 1), 2**40))
    check_fits(composed(*SMALL, *FP32, "trainer.precision=16-mixed", "trainer.devices=[1]"))
    with pytest.raises(Infeasible, match="data.batch_size=8: training needs an estimated .* the GPU has"):
        check_fits(config)
    check_fits(composed(*SMALL, *FP32, "model.attention_dropout=0.1"))  # which its kernels may not keep


@pytest.mark.slow
def test_a_run_of_such_a_net_leaves_nothing_and_reads_nothing(command, run_directories, monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "LARGE", 1)
    monkeypatch.setattr(feasible, "machine_memory", lambda: 10**6)
    outcome = command(*TINY)
    assert outcome.status == 2 and outcome.stderr.startswith("data.batch_size=8 data.block_size=32: training needs")
    assert len(outcome.stderr.splitlines()) == 2 and run_directories() == [] and not (tmp_path / "cache").exists()
