"""Promises of every precision mode: it trains, keeps tied heads tied, and takes the bytes that it says."""

import math

import pytest
import torch
from optimizers import VOCABULARY, give_gradients, module_of
from precision_modes import BYTES, MODES, mode_named
from watched_training import trained

from frontpage.recipe.live_bytes import live_bytes
from frontpage.recipe.parameter_groups import optimizer_of
from frontpage.recipe.plain_tensors import as_numbers, bytes_of, plain_parts
from frontpage.recipe.precision.layers import trunk_linears
from frontpage.training.memory.estimate import estimate_training
from frontpage.training.memory.fake_step import dtypes_of

SIZES = {"d_model": 32, "n_head": 2}


def converted(name, **sizes):
    """A module in a mode, its net as it is in training."""
    mode = mode_named(name)
    module = module_of(**{**SIZES, **sizes})
    module.train_in(mode)
    mode.convert(module.net)
    return module.to(dtypes_of(mode.lightning).weights)


@pytest.mark.parametrize("name", MODES)
def test_it_trains_three_steps_and_keeps_a_tied_head_tied(name):
    module = module_of(**SIZES)
    before = {key: weight.clone() for key, weight in module.state_dict().items()}
    module.train_in(mode_named(name))
    watch = trained(module, module.precision_mode.lightning)
    assert len(watch.losses) == 3 and all(map(math.isfinite, watch.losses))
    assert abs(watch.losses[0] - math.log(VOCABULARY)) < 0.1
    assert module.net.head.weight is module.net.token_embedding.weight
    after = module.state_dict()
    assert after.keys() == before.keys()
    for key in (f"net.{layer}.weight" for layer in trunk_linears(module.net)):
        assert type(after[key]) is torch.Tensor and not torch.equal(after[key].float(), before[key]), key
    types = {weight.dtype for weight in module.net.parameters()}
    assert types == {dtypes_of(module.precision_mode.lightning).weights}


@pytest.mark.parametrize("name", MODES)
def test_bytes_counted_from_live_tensors_are_those_of_the_closed_formula_and_of_the_estimate(name):
    module = converted(name, d_model=128, d_ff=256, n_layer=2)
    optimizer = optimizer_of(module.net, module.make_optimizer)
    for weight in module.net.parameters():
        weight.grad = torch.ones_like(as_numbers(weight.detach()))
    optimizer.step()
    counted = live_bytes(module.net, optimizer)
    plain, mode = module_of(d_model=128, d_ff=256, n_layer=2, n_head=2), mode_named(name)
    plain.train_in(mode)
    memory = estimate_training(plain.net, plain.make_optimizer, 2, 12, precision=mode.lightning, mode=mode)
    assert memory.static[:2] == counted[:2]
    assert memory.optimizer == pytest.approx(counted.optimizer, rel=0.05)  # tables that weights share
    up = module.net.blocks[0].mlp.up.weight  # (256, 128)
    state = [part for value in optimizer.state[up].values() for part in plain_parts(value)]
    averages = [part for part in state if part.numel() not in (1, 256)]  # without counts and tables of 8-bit numbers
    found = [sum(map(bytes_of, parts)) / up.numel() for parts in (plain_parts(up), plain_parts(up.grad), averages)]
    assert found == pytest.approx(BYTES[name])


def test_8_bit_averages_of_int8_weights_take_a_byte_and_their_factor_each():
    module = module_of(d_model=128, d_ff=256, n_head=2)
    module.train_in(mode_named("int8_weight", averages="int8"))
    optimizer = optimizer_of(module.net.bfloat16(), module.make_optimizer)
    give_gradients(module.net, 0)
    optimizer.step()
    up = module.net.blocks[0].mlp.up.weight
    state = [
        part for value in optimizer.state[up].values() for part in plain_parts(value) if part.numel() not in (1, 256)
    ]
    assert sum(map(bytes_of, state)) / up.numel() == 2 * (1 + 4 / 256)
    signed = [state["exp_avg"] for state in optimizer.state.values()]
    assert len({id(average.qmap) for average in signed if hasattr(average, "qmap")}) == 1  # the table, held once


@pytest.mark.parametrize("name", MODES)
def test_no_update_is_far_larger_than_the_rate_when_gradients_shrink_at_once(name):
    module = module_of(d_model=64, n_head=2)
    module.train_in(mode_named(name))
    module.to(dtypes_of(module.precision_mode.lightning).weights)
    optimizer = optimizer_of(module.net, module.make_optimizer)
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.0
    up, rate = module.net.blocks[0].mlp.up.weight, optimizer.param_groups[0]["lr"]
    torch.manual_seed(0)
    spread = {id(weight): 10 ** (-4 * torch.rand(weight.shape)) for weight in module.net.parameters()}
    for shrunk in (1, 1e-3, 1, 1e-3):
        before = up.detach().clone()
        for weight in module.net.parameters():
            weight.grad = (spread[id(weight)] * shrunk).to(weight.dtype)
        optimizer.step()
        moved = float((up.detach().float() - before.float()).abs().max())
        assert 0 < moved < 3 * rate + 2**-8 * float(before.abs().max())
