"""Promises of Muon's options: matrices that share a weight are updated apart, rows are brought to one length before."""

import functools

import pytest
import torch
from optimizers import give_gradients, module_of
from tiny import composed, options
from watched_training import trained

import frontpage.machine.precision
from frontpage.command.build import build
from frontpage.command.notices import forget_notices, notices
from frontpage.recipe.optimizer_memory import optimizer_bytes
from frontpage.recipe.optimizers import muon
from frontpage.recipe.optimizers.muon import Muon
from frontpage.recipe.parameter_groups import fused_rows, optimizer_of


@pytest.fixture
def fast(monkeypatch):
    """fast(precision) is what the device is said to be fastest in."""
    return lambda precision: monkeypatch.setattr(muon, "best_precision", lambda kind: (precision, f"{kind} was asked"))


def net_of(**changes):
    return module_of("muon", activation="swiglu", n_kv_head=1, **changes).net


def muon_of(net, **settings):
    return optimizer_of(net, functools.partial(Muon, lr=0.01, momentum=0.9, weight_decay=0.3, **settings))


def orthogonal64(direction, steps=5):
    """Five steps of Jordan's iteration in float64, as written there: X = a X + (b A + c A A) X with A = X X^T."""
    x = direction.double() / direction.double().norm()
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def test_matrices_that_share_a_weight_are_updated_as_if_each_had_its_own(fast):
    """PyTorch's Muon, given the queries, keys, values, gate and up of a net as weights of their own."""
    fast("bf16-mixed")
    mine, plain = net_of(), net_of()
    optimizer = muon_of(mine, split_fused=True)
    sizes = {"attention.qkv": (16, 8, 8), "attention.out": (16,), "mlp.up": (48, 48), "mlp.down": (16,)}
    split = {name: plain.get_parameter(f"blocks.0.{name}.weight").split(rows) for name, rows in sizes.items()}
    pieces = {name: [torch.nn.Parameter(part.detach().clone()) for part in parts] for name, parts in split.items()}
    apart = [piece for found in pieces.values() for piece in found]
    pytorchs = torch.optim.Muon(apart, lr=0.01, momentum=0.9, adjust_lr_fn="match_rms_adamw", weight_decay=0.3)
    whole = muon_of(plain)
    for seed in range(3):
        give_gradients(mine, seed)
        give_gradients(plain, seed)
        for name, rows in sizes.items():
            gradient = plain.get_parameter(f"blocks.0.{name}.weight").grad
            for piece, its_gradient in zip(pieces[name], gradient.split(rows), strict=True):
                piece.grad = its_gradient.clone()
        for one in (optimizer, pytorchs, whole):
            one.step()
    for name, found in pieces.items():
        ours = mine.get_parameter(f"blocks.0.{name}.weight")
        assert torch.equal(ours, torch.cat(found)), name
        assert torch.equal(ours, plain.get_parameter(f"blocks.0.{name}.weight")) == (len(found) == 1), name


@pytest.mark.parametrize("attention", options("model/attention"))
def test_the_rows_of_every_attention_are_those_that_it_calls_by_name(attention):
    sizes = ("data.block_size=16", "model.d_model=32", "model.n_layer=2", "model.n_head=4", "model.activation=swiglu")
    net = build(composed(*sizes, f"model/attention={attention}").model, "model", vocab_size=40).net
    found = fused_rows(net)
    for block in net.blocks:
        for part in (block.attention, block.mlp):
            named = part.matrices().values()
            for weight in (weight for weight in part.parameters() if weight in found):
                starts = [sum(found[weight][:index]) for index in range(len(found[weight]))]
                rows = zip(starts, found[weight], strict=True)
                assert sum(found[weight]) == len(weight) and len(starts) > 1
                for start, length in rows:
                    piece = weight[start : start + length]
                    assert any(one.data_ptr() == piece.data_ptr() and one.shape == piece.shape for one in named)
    fused = {name for name, weight in net.named_parameters() if weight in found}
    assert {"blocks.0.mlp.up.weight", "blocks.1.mlp.up.weight"} < fused


def test_rows_are_in_their_order_in_the_weight_whatever_the_order_of_the_names():
    class Reversed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.both = torch.nn.Linear(3, 6)

        def matrices(self):
            first, second = self.both.weight.split((2, 4))
            return {"second": second, "first": first}

    net = torch.nn.Sequential(Reversed())
    assert fused_rows(net) == {net[0].both.weight: (2, 4)}


def test_without_fused_matrices_there_is_nothing_to_split(fast):
    fast("32-true")
    one, other = (muon_of(net_of(), split_fused=split) for split in (False, True))
    assert one.fused_rows == {} and len(other.fused_rows) == 2
    assert [group.keys() for group in one.param_groups] == [group.keys() for group in other.param_groups]


@pytest.mark.parametrize("nesterov", [True, False])
def test_equalised_rows_are_divided_by_their_norms_before_the_iteration(fast, nesterov):
    fast("32-true")
    net = net_of()
    optimizer, means = muon_of(net, equalise_rows=True, nesterov=nesterov), {}
    for seed in range(2):
        before = {name: weight.detach().double() for name, weight in net.named_parameters()}
        give_gradients(net, seed)
        optimizer.step()
        for name in (f"blocks.0.{part}.weight" for part in ("attention.qkv", "attention.out", "mlp.up", "mlp.down")):
            weight = net.get_parameter(name)
            gradient = weight.grad.double()
            means[name] = 0.9 * means.get(name, 0) + 0.1 * gradient
            direction = 0.1 * gradient + 0.9 * means[name] if nesterov else means[name]
            direction = direction / direction.square().sum(1, keepdim=True).sqrt()
            step = 0.01 * 0.2 * max(weight.shape) ** 0.5 * orthogonal64(direction)
            expected = before[name] * (1 - 0.01 * 0.3) - step
            torch.testing.assert_close(weight.detach().double(), expected, rtol=0, atol=2e-6)


def test_with_equalised_rows_their_lengths_do_not_matter_and_empty_ones_stay_where_they_are(fast):
    fast("32-true")
    ends = []
    for scales in ([1.0] * 16, [10.0 ** (power - 8) for power in range(15)] + [1.0]):
        net = net_of()
        weight = net.get_parameter("blocks.0.attention.out.weight")
        optimizer, before = muon_of(net, equalise_rows=True), weight.detach().clone()
        give_gradients(net, 0)
        weight.grad *= torch.tensor(scales)[:, None]
        weight.grad[3] = 0
        optimizer.step()
        assert torch.equal(weight[3], before[3] * (1 - 0.01 * 0.3)) and weight.isfinite().all()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends, rtol=0, atol=1e-6)
    weight.grad = torch.zeros_like(weight)
    optimizer.state.clear()
    optimizer.step()  # a matrix of zeros, too
    assert weight.isfinite().all()


@pytest.mark.parametrize(
    ("device", "has_bf16", "chosen"),
    [("cuda", True, "bfloat16"), ("cuda", False, "float32"), ("mps", True, "float32"), ("cpu", False, "float32")],
)
def test_every_kind_of_machine_iterates_in_the_type_that_it_is_fast_in(monkeypatch, device, has_bf16, chosen):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    monkeypatch.setattr(frontpage.machine.precision, "has_bf16_instructions", lambda: has_bf16)
    for cached in (frontpage.machine.precision.best_precision, frontpage.machine.precision.bf16_is_fast):
        cached.cache_clear()
    assert muon.fast_iteration(torch.device(device)) == chosen
    for cached in (frontpage.machine.precision.best_precision, frontpage.machine.precision.bf16_is_fast):
        cached.cache_clear()


@pytest.mark.parametrize(("fastest", "exact"), [("32-true", True), ("bf16-mixed", False)])
def test_mixed_precision_does_not_decide_the_type_of_the_iteration(fast, fastest, exact):
    """Under bf16-mixed on a machine that is slow in bf16 an update is that of float64, to the digits of fp32."""
    fast(fastest)
    module = module_of("muon")
    weight = module.net.get_parameter("blocks.0.attention.qkv.weight")
    before = weight.detach().double()
    trained(module, "bf16-mixed", count=1)
    mean = module.trainer.optimizers[0].state[weight]["momentum_buffer"].double()
    direction = mean + 0.95 * mean  # of the first update, whose gradient is mean / 0.05
    step = orthogonal64(direction.T).T  # a tall matrix is turned around
    moved = (before * (1 - 1e-3 * 0.1) - weight.detach().double()) / (1e-3 * 0.2 * 48**0.5)
    assert (float((moved - step).abs().max()) < 2e-4) == exact


def test_planning_a_run_asks_no_device_for_its_type():
    forget_notices()
    module = module_of("muon")
    optimizer_bytes(module.net, module.make_optimizer)
    assert notices() == []
