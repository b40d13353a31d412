"""Promises of what low-bit modes compute, by the closed formulas: which grid, which product, right on average."""

import pytest
import torch
from optimizers import module_of
from precision_modes import mode_named, needs_torchao
from torch import nn
from torch.nn import functional as F

from frontpage.recipe.parameter_groups import optimizer_of
from frontpage.recipe.precision.integers import load_plain_state, packed, plain_state, unpacked
from frontpage.recipe.precision.layers import trunk_linears

pytestmark = needs_torchao
SIZES = {"d_model": 64, "n_head": 2}


def rows_on_grid(x, largest=127):
    """Each row rounded to multiples of its largest number divided by `largest`."""
    scale = x.abs().amax(-1, keepdim=True) / largest
    return (x / scale).round() * scale


@pytest.mark.parametrize(("name", "group"), [("int8_qat", None), ("int4_qat", 32)])
def test_reopened_weights_lie_on_the_grid_of_their_groups_and_a_step_computes_with_them(name, group):
    mode, module, plain = mode_named(name), module_of(**SIZES), module_of(**SIZES)
    most = 2 ** (mode.bits - 1)
    mode.convert(module.net)
    mode.reopened(plain.net)
    tokens = torch.arange(12)[None]
    for key, layer in trunk_linears(module_of(**SIZES).net).items():
        groups = layer.weight.detach().unflatten(1, (-1, group or layer.in_features))
        scale = groups.abs().amax(-1, keepdim=True) / (most - 0.5)  # torchao's: the grid is -most to most - 1
        found = plain.net.get_submodule(key).weight.detach().unflatten(1, (-1, group or layer.in_features)) / scale
        torch.testing.assert_close(found, found.round())
        assert -most - 0.01 < found.min() < 1 - most and most - 2 < found.max() < most - 1 + 0.01
        assert (found - groups / scale).abs().max() < 0.5001
        assert type(plain.net.get_submodule(key)) is nn.Linear
    torch.testing.assert_close(module.net(tokens), plain.net(tokens))
    assert not torch.equal(plain.net(tokens), module_of(**SIZES).net(tokens))
    module.net(tokens).square().mean().backward()  # through the rounding as if it were not there
    assert all(weight.grad.abs().sum() > 0 for weight in module.net.parameters() if weight.ndim > 1)


@pytest.mark.parametrize("name", ["int8_qat", "int4_qat"])
def test_a_net_of_integers_computes_what_training_felt_and_comes_back_from_plain_tensors(name):
    mode, felt, real, again = mode_named(name), *(module_of(**SIZES).net for _ in range(3))
    with torch.no_grad():
        again.blocks[0].mlp.up.weight.normal_()
    mode.reopened(felt)
    mode.quantise(real)
    mode.quantise(again)
    state = plain_state(real, mode.bits)
    assert all(type(one) is torch.Tensor for one in state.values()) and "head.weight" not in state
    up = state["blocks.0.mlp.up.weight.integers"]
    assert up.numel() * up.itemsize == 256 * 64 * mode.bits // 8
    load_plain_state(again, state, mode.bits)
    tokens = torch.arange(12)[None]
    assert torch.equal(real(tokens), again(tokens))
    torch.testing.assert_close(real(tokens), felt(tokens))
    assert real.head.weight is real.token_embedding.weight
    with pytest.raises(ValueError, match="blocks.0.mlp.up.weight.scale does not fit"):
        load_plain_state(again, {key: one for key, one in state.items() if "up.weight.scale" not in key}, mode.bits)


def test_two_integers_of_4_bits_lie_in_a_byte():
    every = torch.arange(-8, 8, dtype=torch.int8)
    assert packed(every[[8, 9, 0]]).tolist() == [0 | 1 << 4, 8]
    for shape in ((16,), (4, 4), (3, 5)):
        numbers = every[: torch.Size(shape).numel()].view(shape)
        assert torch.equal(unpacked(packed(numbers), torch.Size(shape)), numbers)


def test_int8_mixed_multiplies_rounded_rows_in_training_and_weights_as_they_are_in_validation():
    mode, net = mode_named("int8_mixed"), nn.ModuleDict({"layer": nn.Linear(32, 48), "head": nn.Linear(32, 48)})
    mode.convert(net)
    torch.manual_seed(0)
    layer, x, into = net["layer"], torch.randn(2, 5, 32, requires_grad=True), torch.randn(2, 5, 48)
    y = layer(x)
    weight = layer.weight.detach()
    torch.testing.assert_close(y, rows_on_grid(x) @ rows_on_grid(weight).T + layer.bias)
    y.backward(into.transpose(0, 1).contiguous().transpose(0, 1))  # as attentions give it
    torch.testing.assert_close(x.grad, rows_on_grid(into) @ rows_on_grid(weight.T).T)
    flat_x, flat_into = x.detach().flatten(0, 1), into.flatten(0, 1)
    torch.testing.assert_close(layer.weight.grad, rows_on_grid(flat_into.T) @ rows_on_grid(flat_x.T).T)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    layer.eval()
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    assert type(net["head"]) is nn.Linear


def test_fp8_multiplies_numbers_of_8_bits_scaled_by_the_largest_of_each_tensor():
    def on_grid(x):
        scale = 448 / x.detach().abs().max()  # the largest number of float8_e4m3
        return (x * scale).to(torch.float8_e4m3fn).float() / scale

    mode = mode_named("fp8")
    net = nn.ModuleDict({name: nn.Linear(32, width) for name, width in {"layer": 48, "odd": 24, "head": 48}.items()})
    mode.convert(net)
    torch.manual_seed(0)
    layer, x = net["layer"], torch.randn(16, 32)
    torch.testing.assert_close(layer(x), on_grid(x) @ on_grid(layer.weight).T + layer.bias, rtol=1e-3, atol=1e-3)
    assert (layer(x) - F.linear(x, layer.weight, layer.bias)).abs().max() > 1e-3
    assert type(net["odd"]) is type(net["head"]) is nn.Linear


def drift(name, **changes):
    """How far 60 equal updates, each lost by rounding to the nearest, move weights of 1: (mean, asked for)."""
    module = module_of(d_model=32, bias=False)
    module.train_in(mode_named(name, **changes))
    with torch.no_grad():
        for layer in trunk_linears(module.net).values():
            layer.weight.fill_(1.0)
            layer.weight[:, 0] = 2.0  # sets the grid of int8, 2/127; bf16's is 1/128
    module.precision_mode.convert(module.net)
    module.bfloat16()
    weights, optimizer = list(module.net.parameters()), optimizer_of(module.net, module.make_optimizer)
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = 1e-3, 0.0

    def up():
        return module.state_dict()["net.blocks.0.mlp.up.weight"].float()[:, 1:]

    start = up()
    torch.manual_seed(0)
    for _ in range(60):
        for weight in weights:
            weight.grad = -torch.ones(weight.shape, dtype=weight.dtype)  # Adam's step is the rate
        optimizer.step()
    return float((up() - start).mean()), adams_way(60)


def adams_way(updates):
    """How far AdamW moves a number at the rate 1e-3 under gradients of -1, its averages kept in bf16."""
    first, second, way = torch.zeros(2).bfloat16().unbind() + (0.0,)
    for count in range(1, updates + 1):
        means = first.float() * 0.9 + 0.1, second.float() * 0.95 + 0.05
        way += 1e-3 * float(means[0] / (1 - 0.9**count) / (means[1] / (1 - 0.95**count)).sqrt())
        first, second = (mean.bfloat16() for mean in means)
    return way


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bf16_true", "int8_weight"])
def test_rounding_by_chance_keeps_small_updates_on_average(name):
    moved, asked = drift(name)
    assert moved == pytest.approx(asked, rel=0.05)


def test_rounding_to_the_nearest_loses_them():
    assert drift("bf16_true", rounding="nearest")[0] == 0
