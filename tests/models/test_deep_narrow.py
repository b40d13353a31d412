"""Promises of deep_narrow: sizes as stated, DeepNet's constants, a first loss near ln V at every preset and norm."""

import itertools
import math

import pytest
import torch
from attentions import attention_factory
from tiny import composed, options
from torch import nn

from frontpage.attention.causal import CausalAttention
from frontpage.attention.parts.projected import ProjectedAttention
from frontpage.command.build import build
from frontpage.command.notices import forget_notices, notices
from frontpage.evaluation.losses import next_token_loss
from frontpage.models.block import Block
from frontpage.models.deep_narrow import NORMS, DeepNarrow, usual_logit_scale
from frontpage.models.deepnet import deepnet_constants
from frontpage.recipe.modules import DeepNarrowModule

VOCABULARY = 8192
COUNTS = {  # parameters with 8192 tokens, worked out by hand
    "microscope": 184_871_040,
    "deep_narrow_40": 383_902_464,
    "deep_narrow_48": 624_075_648,
}
PRESETS = [name for name in options("model") if composed(f"model={name}").model._target_.endswith("DeepNarrowModule")]
LARGE = {"deep_narrow_40", "deep_narrow_48", "deep_narrow_60"}  # with their own norm: a quarter of a minute each
EACH = [
    (preset, norm)
    for preset, norm in itertools.product(PRESETS, NORMS)
    if preset != "deep_narrow_100" and (preset not in LARGE or norm == "deepnorm")  # the former: 7 GB of weights
]


def small(**changes):
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "block_size": 24, "d_model": 32, "n_layer": 3, "n_head": 4}
    return DeepNarrow(**{**sizes, "attention": CausalAttention, **changes})


def tokens(rows, time, vocabulary=50):
    return torch.randint(3, vocabulary, (rows, time), generator=torch.Generator().manual_seed(1))


def on_meta(*overrides, vocabulary=VOCABULARY):
    with torch.device("meta"):
        return build(composed(*overrides).model, "model", vocab_size=vocabulary).net


def parameters(net):
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_exactly_the_parameters_of_the_arithmetic(preset):
    net = on_meta(f"model={preset}")
    assert parameters(net) == COUNTS.get(preset, formula(net))
    assert parameters(net) == formula(net)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_parameters_are_those_of_the_formula_for_every_norm(norm):
    net = on_meta("model=deep_narrow", f"model.norm={norm}")
    assert parameters(net) == formula(net)
    untied = on_meta("model=deep_narrow", f"model.norm={norm}", "model.tie_embeddings=false")
    assert parameters(untied) == formula(net) + VOCABULARY * net.widths[0]


def formula(net):
    """n_layer (4 d^2 + 3 d d_ff + norms) + final norm + V d."""
    d, layers, d_ff = net.widths[0], len(net.blocks), net.blocks[0].mlp.down.in_features
    block = 4 * d * d + 3 * d * d_ff + (2 * d if net.blocks[0].pre else 4 * d)
    return layers * block + d + VOCABULARY * d


def first_loss(net, rows=4, time=64):
    x = tokens(rows, time + 1, net.vocab_size)
    with torch.no_grad():
        return float(next_token_loss(net.hidden(x[:, :-1]), net.head.weight, x[:, 1:]))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("layers", [2, 48, 144])
def test_the_first_loss_of_every_depth_is_near_ln_v(layers, norm, tied):
    """At a width of 64, which lets the fast tests ask more tokens."""
    net = small(vocab_size=2048, d_model=64, n_layer=layers, norm=norm, tie_embeddings=tied)
    assert first_loss(net, time=24) == pytest.approx(math.log(2048), abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "norm"), EACH)
def test_the_first_loss_of_every_preset_is_near_ln_v(preset, norm):
    config = composed(f"model={preset}", f"model.norm={norm}")
    torch.manual_seed(0)
    net = build(config.model, "model", vocab_size=VOCABULARY).net
    assert first_loss(net) == pytest.approx(math.log(VOCABULARY), abs=0.1)


def test_the_constants_are_deepnets():
    for layers, alpha, beta in ((40, 2.9907, 0.23644), (48, 3.1302, 0.22590), (77, 3.5227, 0.20073)):
        assert deepnet_constants(layers) == (pytest.approx(alpha, abs=5e-5), pytest.approx(beta, abs=5e-6))
    for norm in NORMS:
        alpha = deepnet_constants(3)[0] if norm == "deepnorm" else 1.0
        assert {block.residual_scale for block in small(norm=norm).blocks} == {alpha}


def test_the_logit_scale_is_that_of_the_rule_or_the_one_that_is_given():
    assert [usual_logit_scale(d, copies=False) for d in (64, 256, 1024)] == [1.0, 1.0, 0.5]
    assert usual_logit_scale(64, copies=True) == 0.125
    for norm, tied in itertools.product(NORMS, (True, False)):
        net = small(d_model=64, norm=norm, tie_embeddings=tied)
        assert net.logit_scale == (0.125 if norm in ("deepnorm", "postnorm") and tied else 1.0)
        given = small(d_model=64, norm=norm, tie_embeddings=tied, logit_scale=0.5)
        x = tokens(2, 9)
        torch.testing.assert_close(given.hidden(x) / 0.5, net.hidden(x) / net.logit_scale)
        torch.testing.assert_close(given(x), given.head(given.hidden(x)))
    with pytest.raises(ValueError, match="logit_scale=0: above 0"):
        small(logit_scale=0)


def test_each_norm_is_another_net_and_stands_in_its_place():
    x, results = tokens(1, 12), []
    for norm, (kind, place) in NORMS.items():
        net = small(norm=norm)
        block = net.blocks[1]
        assert isinstance(block.mlp_norm, nn.LayerNorm if kind == "layer" else nn.RMSNorm)
        assert block.pre == (place == "pre")
        assert (getattr(block.attention_norm, "bias", None) is not None) == (place == "post")
        assert isinstance(net.final_norm, nn.LayerNorm if norm == "layernorm" else nn.RMSNorm)
        assert block.mlp.up.bias is block.mlp.down.bias is block.attention.qkv.bias is block.attention.out.bias is None
        results.append(net.hidden(x))
    for one, other in itertools.combinations(results, 2):
        assert not torch.allclose(one, other, atol=1e-3)
    with pytest.raises(ValueError, match="norm=rms: one of layernorm rmsnorm deepnorm postnorm"):
        small(norm="rms")


@torch.no_grad()
def test_a_deepnorm_block_is_its_formula():
    net = small(norm="deepnorm", n_layer=7).double()
    block, alpha, x = net.blocks[2], 14**0.25, torch.randn(2, 9, 32, dtype=torch.float64)

    def norm(y, layer):
        y = y - y.mean(-1, keepdim=True)
        return y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias

    for layer in (block.attention_norm, block.mlp_norm):
        layer.weight.normal_(), layer.bias.normal_()
    y = norm(alpha * x + block.attention(x), block.attention_norm)
    gate, up = (y @ block.mlp.up.weight.T).chunk(2, dim=-1)
    expected = norm(alpha * y + (gate * gate.sigmoid() * up) @ block.mlp.down.weight.T, block.mlp_norm)
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


def test_a_plain_post_norm_block_adds_as_it_always_did():
    torch.manual_seed(0)
    mixer = CausalAttention(32, 4, 24)
    block = Block(mixer, small().blocks[0].mlp, 32, norm_position="post")
    x = torch.randn(2, 9, 32)
    y = block.attention_norm(x + block.attention(x))
    assert torch.equal(block(x), block.mlp_norm(y + block.mlp(y)))


def test_a_final_norm_can_be_left_out():
    for norm in NORMS:
        with_it, without = small(norm=norm), small(norm=norm, final_norm=False)
        assert isinstance(without.final_norm, nn.Identity)
        assert parameters(with_it) == parameters(without) + 32
        changed = not torch.allclose(with_it(tokens(1, 9)), without(tokens(1, 9)), atol=1e-4)
        assert changed == (norm in ("layernorm", "rmsnorm"))  # behind a post-norm it has nothing left to do


@torch.no_grad()
@pytest.mark.parametrize("name", options("model/attention"))
def test_every_attention_says_which_of_its_weights_make_values(name, monkeypatch):
    """The parts are all weights of its linear layers, each once; values are linear in those named `value`."""
    torch.manual_seed(0)
    attention = attention_factory(name)(64, 4, 64, n_kv_head=2, bias=False).double()
    parts, x = attention.matrices(), torch.randn(1, 20, 64, dtype=torch.float64)
    linear = [layer.weight for layer in attention.modules() if isinstance(layer, nn.Linear)]
    assert {"query", "key", "value", "out"} <= parts.keys() and parts["out"] is attention.out.weight
    for weight in linear:
        rows = torch.cat([part for part in parts.values() if part.untyped_storage().data_ptr() == weight.data_ptr()])
        assert torch.equal(rows, weight)
    assert sum(part.numel() for part in parts.values()) == sum(weight.numel() for weight in linear)
    if not isinstance(attention, ProjectedAttention):
        mixed = attention(x)
        parts["value"].mul_(3)
        torch.testing.assert_close(attention(x), 3 * mixed)
        return
    given = []
    attend = type(attention).attend
    monkeypatch.setattr(
        type(attention), "attend", lambda self, *qkv, **more: given.extend(qkv) or attend(self, *qkv, **more)
    )
    attention(x)
    for part, heads in zip(("query", "key", "value"), given, strict=True):
        torch.testing.assert_close(heads.transpose(1, 2).flatten(2), x @ parts[part].T)


@torch.no_grad()
@pytest.mark.parametrize("name", options("model/attention"))
def test_deepnorm_scales_values_and_what_writes_to_the_stream_by_beta_and_nothing_else(name):
    layers = 4
    net = small(d_model=128, n_layer=layers, n_kv_head=2, attention=attention_factory(name), norm="deepnorm")
    beta = deepnet_constants(layers)[1]
    for kind, scaled in (("attention", {"value", "out"}), ("mlp", {"up", "down"})):
        parts = [getattr(block, kind).matrices() for block in net.blocks]
        assert scaled < parts[0].keys()
        for key, weight in parts[0].items():
            gain = torch.cat([part[key].flatten() for part in parts]).std() * math.sqrt(sum(weight.shape) / 2)
            assert float(gain) == pytest.approx(beta if key in scaled else 1.0, rel=0.06), key


@torch.no_grad()
def test_the_gate_of_the_mlp_is_scaled_where_that_is_asked_for():
    plain, scaled = small(norm="deepnorm"), small(norm="deepnorm", scale_gate=True)
    beta = deepnet_constants(3)[1]
    for one, other in zip(plain.blocks, scaled.blocks, strict=True):
        ours, theirs = one.mlp.matrices(), other.mlp.matrices()
        torch.testing.assert_close(ours["gate"] * beta, theirs["gate"])
        assert torch.equal(ours["up"], theirs["up"]) and torch.equal(ours["down"], theirs["down"])


@torch.no_grad()
def test_the_other_norms_start_as_the_house_does():
    for norm in ("layernorm", "rmsnorm", "postnorm"):
        net = small(d_model=128, norm=norm)
        for block in net.blocks:
            assert float(block.attention.qkv.weight.std()) == pytest.approx(0.02, rel=0.05)
            for writer in (block.attention.out, block.mlp.down):
                assert float(writer.weight.std()) == pytest.approx(0.02 / math.sqrt(6), rel=0.05)
    for norm in NORMS:
        assert float(small(norm=norm, d_model=128).token_embedding.weight.std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_is_causal_has_a_cache_and_lets_every_weight_learn(norm):
    net, x = small(norm=norm).double().eval(), tokens(2, 18)
    whole = net(x)
    cache = net.new_cache()
    parts = [net(part, cache=cache) for part in x.split([5, 1, 8, 4], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-10)
    changed = x.clone()
    changed[:, 11] = 3 + (x[:, 11] + 7) % 47
    assert torch.equal(net(changed)[:, :11], whole[:, :11]) and not torch.equal(net(changed)[:, 11], whole[:, 11])
    whole.log_softmax(-1)[..., 5].sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in net.parameters())


def test_a_notice_says_where_deepnorm_does_not_use_an_initialisation_that_was_asked_for():
    sizes = {"vocab_size": 50, "block_size": 24, "d_model": 32, "n_layer": 2, "n_head": 4, "attention": CausalAttention}
    for norm, changes, said in (
        ("deepnorm", {"init": "xavier"}, ["norm=deepnorm has initial weights of its own: init=xavier not used"]),
        ("deepnorm", {"init": "normal", "scaled_residual_init": True}, []),
        ("postnorm", {"init": "xavier"}, []),
    ):
        forget_notices()
        DeepNarrowModule(optimizer=None, scheduler=None, norm=norm, **sizes, **changes)
        assert notices() == said
