"""What is particular to `bottleneck`, `gated`, `differential` and `mla`, against their formulas."""

import math

import pytest
import torch
from attentions import inputs

from frontpage.attention.bottleneck import BottleneckAttention
from frontpage.attention.causal import CausalAttention
from frontpage.attention.differential import DifferentialAttention
from frontpage.attention.gated import GatedAttention
from frontpage.attention.mla import MLAAttention

SIZES = {"d_model": 64, "n_head": 4, "block_size": 64}


@pytest.fixture(autouse=True)
def exact():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def plain_softmax(q, k, time):
    """(T, T) causal attention weights of one head, written out."""
    scores = q @ k.T / math.sqrt(q.shape[-1])
    return scores.masked_fill(torch.ones(time, time, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)


def test_equal_scores_give_the_mean_of_what_was_seen():
    attention = CausalAttention(**SIZES, bias=False)
    with torch.no_grad():
        attention.qkv.weight.zero_()
        attention.qkv.weight[128:] = torch.eye(64)
        attention.out.weight.copy_(torch.eye(64))
    x = inputs(1, 9)
    expected = x.cumsum(1) / torch.arange(1, 10)[:, None]
    torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("inner", [4, 8, 32, 128])
def test_a_bottleneck_is_narrow_everywhere(inner):
    attention = BottleneckAttention(**SIZES, d_inner=inner)
    weights = {name: tuple(weight.shape) for name, weight in attention.named_parameters() if "weight" in name}
    assert weights == {"qkv.weight": (3 * inner, 64), "out.weight": (64, inner)}
    assert attention.cache_numbers(10) == 10 * 2 * inner
    q, k, _ = attention.qkv(inputs(1, 60))[0].split(inner, -1)
    assert torch.linalg.matrix_rank(q[:, : inner // 4] @ k[:, : inner // 4].T) == min(inner // 4, 60)


def test_a_bottleneck_of_the_full_width_is_causal_attention():
    torch.manual_seed(0)
    narrow = BottleneckAttention(**SIZES, d_inner=64)
    torch.manual_seed(0)
    plain, x = CausalAttention(**SIZES), inputs(2, 20)
    assert torch.equal(narrow(x), plain(x))


@pytest.mark.parametrize("inner", [0, 2, 63, -4])
def test_an_inner_width_that_heads_cannot_share_is_refused(inner):
    with pytest.raises(ValueError, match=f"d_inner={inner}: must be a multiple of n_head=4"):
        BottleneckAttention(**SIZES, d_inner=inner)


@pytest.mark.parametrize("gate", ["element", "head"])
def test_a_gate_multiplies_each_heads_output(gate):
    gated, x = GatedAttention(**SIZES, gate=gate), inputs(2, 11)
    plain = CausalAttention(**SIZES)
    plain.load_state_dict({name: weight for name, weight in gated.state_dict().items() if "gate" not in name})
    plain.out, out = torch.nn.Identity(), gated.out
    heads = plain(x).unflatten(-1, (4, 16))
    opened = torch.sigmoid(x @ gated.gate.weight.T).unflatten(-1, (4, -1))
    torch.testing.assert_close(gated(x), out((heads * opened).flatten(2)), rtol=0, atol=1e-12)
    with torch.no_grad():
        gated.gate.weight.zero_()  # a gate of 1/2 everywhere
        gated.out.bias.zero_()
    torch.testing.assert_close(gated(x), heads.flatten(2) @ out.weight.T / 2, rtol=0, atol=1e-12)


def test_an_unknown_gate_is_refused():
    with pytest.raises(ValueError, match="gate=heads: element or head"):
        GatedAttention(**SIZES, gate="heads")


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("layer", [0, 5])
def test_differential_attention_is_its_formula_written_out(kv_heads, layer):
    attention, x, time = DifferentialAttention(**SIZES, layer=layer, n_kv_head=kv_heads), inputs(1, 11), 11
    q, k, v = attention.qkv(x)[0].split([64, 16 * kv_heads, 16 * kv_heads], -1)
    q, k, v = (part.unflatten(-1, (-1, 16)).transpose(0, 1) for part in (q, k, v))
    first = 0.8 - 0.6 * math.exp(-0.3 * layer)
    assert attention.lambda_init == pytest.approx(first)
    q1, k1, q2, k2 = attention.lambdas
    weight, share = torch.exp(q1 @ k1) - torch.exp(q2 @ k2) + first, kv_heads // 2
    heads = []
    for head in range(2):
        key = head * share // 2
        values = torch.cat((v[key], v[share + key]), dim=-1)
        maps = plain_softmax(q[head], k[key], time) - weight * plain_softmax(q[2 + head], k[share + key], time)
        heads.append(maps @ values)
        heads[-1] = heads[-1] / (heads[-1].square().mean(-1, keepdim=True) + 1e-5).sqrt() * (1 - first)
    joined = torch.cat([head[:, :16] for head in heads] + [head[:, 16:] for head in heads], dim=-1)
    torch.testing.assert_close(attention(x)[0], attention.out(joined), rtol=0, atol=1e-12)


def test_differential_layers_start_with_the_papers_lambdas():
    starts = [DifferentialAttention(**SIZES, layer=layer).lambda_init for layer in range(8)]
    assert starts[:2] == pytest.approx([0.2, 0.3555], abs=1e-4) and starts[7] == pytest.approx(0.7265, abs=1e-4)
    assert DifferentialAttention(**SIZES, layer=7, lambda_init=0.5).lambda_init == 0.5


@pytest.mark.parametrize("changes", [{"n_head": 1}, {"n_kv_head": 1}, {"lambda_init": 1.0}, {"lambda_init": -0.1}])
def test_differential_attention_needs_pairs_of_heads_and_a_share(changes):
    with pytest.raises(ValueError, match="n_head=|n_kv_head=|lambda_init="):
        DifferentialAttention(**{**SIZES, **changes})


@pytest.mark.parametrize("rotary", [False, True])
def test_latent_attention_is_its_formula_written_out(rotary):
    attention, x, time = MLAAttention(**SIZES, d_latent=12, d_rope=6, rotary=rotary), inputs(1, 11), 11
    q = attention.query(x)[0].unflatten(-1, (4, -1))
    down = attention.down(x)[0]
    latent = down[:, :12] / (down[:, :12].square().mean(-1, keepdim=True) + 1e-6).sqrt()
    k, v = (latent @ attention.up.weight.T).split(64, -1)
    turn = attention.rotary
    heads = []
    for head in range(4):
        query, key = q[:, head, :16], k[:, 16 * head : 16 * head + 16]
        if rotary:
            query = torch.cat((query, turn(q[None, None, :, head, 16:], torch.arange(time))[0, 0]), dim=-1)
            key = torch.cat((key, turn(down[None, None, :, 12:], torch.arange(time))[0, 0]), dim=-1)
        heads.append(plain_softmax(query, key, time) @ v[:, 16 * head : 16 * head + 16])
    torch.testing.assert_close(attention(x)[0], attention.out(torch.cat(heads, dim=-1)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_the_absorbed_form_gives_what_expanded_keys_and_values_give(kv_heads):
    attention, x = MLAAttention(**SIZES, d_latent=12, d_rope=6, rotary=True, n_kv_head=kv_heads), inputs(2, 17)
    torch.testing.assert_close(attention(x, cache=attention.new_cache()), attention(x), rtol=0, atol=1e-12)


def test_a_latent_as_wide_as_the_heads_can_hold_any_keys_and_values():
    """With orthonormal maps it is ordinary attention over the normalised latent."""
    attention, x = MLAAttention(**SIZES, d_latent=128, d_rope=0, bias=False), inputs(2, 13)
    with torch.no_grad():
        attention.up.weight.copy_(torch.linalg.qr(torch.randn(128, 128)).Q)
    plain = CausalAttention(**SIZES, bias=False)
    latent = attention.latent_norm(attention.down(x))
    with torch.no_grad():
        plain.qkv = torch.nn.Linear(64 + 128, 192, bias=False)
        plain.qkv.weight.zero_()
        plain.qkv.weight[:64, :64] = attention.query.weight
        plain.qkv.weight[64:, 64:] = attention.up.weight
    plain.out = attention.out
    torch.testing.assert_close(attention(x), plain(torch.cat((x, latent), dim=-1)), rtol=0, atol=1e-12)


def test_a_latent_cache_is_a_latent_and_a_rotary_key_wide():
    assert MLAAttention(**SIZES, d_latent=12, d_rope=6, rotary=True).cache_numbers(10) == 10 * 18
    assert MLAAttention(**SIZES, d_latent=12, d_rope=6).cache_numbers(10) == 10 * 12  # learned positions: no rotary key


@pytest.mark.parametrize("changes", [{"d_latent": 0}, {"d_rope": 3, "rotary": True}, {"d_rope": 0, "rotary": True}])
def test_latent_sizes_are_checked(changes):
    with pytest.raises(ValueError, match="d_latent=0|d_rope="):
        MLAAttention(**{**SIZES, "d_latent": 12, "d_rope": 6, **changes})
