"""Promises of `d_inner`: each attention that projects may be narrower inside, and sees what it would see without."""

import pytest
import torch
from attentions import BLOCK, HEADS, WIDTH, attention_factory, inputs, sees
from tiny import composed, options

from frontpage.training.preflight import check_config

NARROW = 32
VARIANTS = [
    name for name in options("model/attention") if "d_inner" in composed(f"model/attention={name}").model.attention
]
OURS = {"bottleneck", "causal", "differential", "fixed", "gated", "gated_delta", "local", "sliding_window", "sparsek"}


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


def layer(name, **settings):
    torch.manual_seed(0)
    return attention_factory(name)(WIDTH, HEADS, BLOCK, **settings).double().eval()


@pytest.mark.parametrize("shared", [{}, {"n_kv_head": 2, "rotary": True, "qk_norm": True}], ids=["plain", "grouped"])
def test_queries_keys_and_values_are_as_wide_as_asked_and_the_output_as_the_model(variant, shared):
    attention = layer(variant, d_inner=NARROW, **shared)
    groups = shared.get("n_kv_head", HEADS)
    if variant == "mla":  # keys and values are made of the latent, and queries have the rotary part beside
        assert attention.up.weight.shape == (2 * NARROW * groups // HEADS, attention.d_latent)
        assert attention.query.weight.shape == (NARROW + HEADS * attention.d_rope, WIDTH)
    else:
        assert attention.qkv.weight.shape == (NARROW + 2 * NARROW * groups // HEADS, WIDTH)
    assert attention.out.weight.shape == (WIDTH, NARROW) and attention.head_width == NARROW // HEADS
    x = inputs(2, BLOCK).double()
    assert attention(x).shape == x.shape


def test_a_narrow_layer_continues_its_cache_to_the_numbers_of_a_whole_pass(variant):
    attention, x = layer(variant, d_inner=NARROW, rotary=True), inputs(2, 40).double()
    cache = attention.new_cache()
    with torch.no_grad():
        parts = [attention(part, cache=cache) for part in x.split([17, 1, 22], dim=1)]
        assert torch.allclose(torch.cat(parts, dim=1), attention(x), atol=1e-10)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "sparsek"], indirect=True)
def test_a_narrow_layer_sees_the_same_tokens(variant):  # what sparsek sees, its scores decide
    wide, narrow = (attention_factory(variant)(WIDTH, HEADS, BLOCK, d_inner=width) for width in (None, NARROW))
    assert torch.equal(sees(wide, 24), sees(narrow, 24))


def test_the_key_is_checked_with_each_variant(variant):
    check_config(composed(f"model/attention={variant}", f"model.attention.d_inner={NARROW}", "model.d_model=64"))


def test_every_variant_has_the_key():
    assert {*OURS, "mla", "strided"} <= {*VARIANTS} == {*options("model/attention")}
