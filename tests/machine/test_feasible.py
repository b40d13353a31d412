"""The promise of impossible sizes: refused in one line before anything of that size is made."""

import pytest
import torch
from tiny import composed

from frontpage.command.build import build
from frontpage.command.errors import Infeasible, UserError
from frontpage.training.memory import feasible
from frontpage.training.memory.estimate import MOST_TOKENS, TrainingMemory, estimate_training
from frontpage.training.memory.feasible import check_size, check_step, machine_memory
from frontpage.training.preflight import check_config

SMALL = ("model.n_layer=1", "model.d_model=32", "model.n_head=4")


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["data.block_size=10000000"], "data.block_size=10000000"),
        (["data.block_size=1000000", "model/attention=sliding_window"], "data.block_size=1000000"),
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


def test_a_large_batch_is_on_the_line_through_smaller_ones(monkeypatch):
    config = composed(*SMALL, "data.block_size=64")
    model = build(config.model, "model", vocab_size=300)
    exact = estimate_training(model.net, model.make_optimizer, 8192, 64)
    assert MOST_TOKENS >= 8192 * 64 / 2
    monkeypatch.setattr("frontpage.training.memory.estimate.MOST_TOKENS", 2**17)
    found = estimate_training(model.net, model.make_optimizer, 8192, 64)
    assert found.total == pytest.approx(exact.total, rel=0.05)
