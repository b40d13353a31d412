"""The patterns against double loops, golden pictures, closed forms, FlexAttention's masks, and the published rules."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from attentions import HEADS, WIDTH, attention_factory
from tiny import options
from torch.nn.attention.flex_attention import create_mask

from frontpage.attention.causal import Causal
from frontpage.attention.fixed import Fixed, FixedAttention
from frontpage.attention.kernels.describe import describe_attention
from frontpage.attention.kernels.executors import sdpa
from frontpage.attention.kernels.flex import FlexMask
from frontpage.attention.kernels.pattern_paths import FORMS, accelerate
from frontpage.attention.local import Local, LocalAttention
from frontpage.attention.parts.documents import places_in_documents
from frontpage.attention.parts.pattern import Pattern, PatternAttention
from frontpage.attention.parts.picture import picture
from frontpage.attention.parts.softmax import softmax_attention
from frontpage.attention.sliding_window import SlidingWindow, SlidingWindowAttention
from frontpage.attention.strided import Strided, StridedAttention

# Each pattern and, written once more for a query i and a key j <= i, what it should show.
RULES = [
    (Causal(), lambda i, j: True),
    (Local(1), lambda i, j: i == j),
    (Local(3), lambda i, j: i - j in (0, 1, 2)),
    (Local(100), lambda i, j: True),
    (Strided(1), lambda i, j: True),
    (Strided(3), lambda i, j: (i - j) % 3 == 0),
    (Strided(5), lambda i, j: j in range(i, -1, -5)),
    (Fixed(4, 1), lambda i, j: i // 4 == j // 4 or j % 4 == 3),
    (Fixed(4, 1, 1), lambda i, j: i // 4 == j // 4 or j % 4 == 2),
    (Fixed(6, 2, 2), lambda i, j: i // 6 == j // 6 or j % 6 in (2, 3)),
    (Fixed(100, 4), lambda i, j: True),
    (SlidingWindow(3, 0), lambda i, j: i - j < 3),
    (SlidingWindow(2, 4), lambda i, j: i - j < 2 or j < 4),
    (SlidingWindow(20, 13), lambda i, j: True),
]


@dataclass(frozen=True)
class Odd(Pattern):
    """Keys at even places and the query's own, which neither a distance nor a formula here tells."""

    def __call__(self, query, key):
        """True where key <= query is even or the query."""
        return (key <= query) & ((key % 2 == 0) | (key == query))


DOCUMENTS = torch.tensor([[0] * 5 + [1] * 11 + [2] + [3] * 16, [7] * 20 + [2] * 13])

# The specification's pictures: T = 8, block 4, summary 1, two groups; window 3; stride 3.
GOLDEN = {
    Fixed(4, 1): "1....... 11...... 111..... 1111.... ...11... ...111.. ...1111. ...11111",
    Fixed(4, 1, 1): "1....... 11...... 111..... 1111.... ..1.1... ..1.11.. ..1.111. ..1.1111",
    Local(3): "1....... 11...... 111..... .111.... ..111... ...111.. ....111. .....111",
    Strided(3): "1....... .1...... ..1..... 1..1.... .1..1... ..1..1.. 1..1..1. .1..1..1",
}


def mask(pattern, length):
    return pattern(torch.arange(length)[:, None], torch.arange(length))


def by_loop(rule, length):
    return torch.tensor([[j <= i and rule(i, j) for j in range(length)] for i in range(length)])


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in RULES], ids=str)
def test_pairs_are_counted_as_the_square_shows_them(pattern):
    for length in (1, 2, 3, 7, 12, 13, 24, 33, 101):
        assert pattern.pairs(length) == int(mask(pattern, length).sum())


def test_a_pattern_that_knows_no_formula_is_counted_row_by_row(monkeypatch):
    monkeypatch.setattr("frontpage.attention.kernels.pattern_paths.PAIRS_AT_ONCE", 50)
    for length in (1, 7, 33):
        assert Odd().pairs(length) == int(mask(Odd(), length).sum())
        layer = accelerate(PatternAttention(8, 1, length, patterns=[Odd()]))
        assert torch.equal(layer.mask_0, mask(Odd(), length))  # made in parts, too


@pytest.mark.slow
def test_pairs_of_a_block_whose_square_no_machine_holds():
    length = 10**6
    assert Causal().pairs(length) == length * (length + 1) // 2
    assert Local(3).pairs(length) == 3 * length - 3
    assert SlidingWindow(2, 4).pairs(length) == 6 * length - 1 - 2 - 3 - 4 - 5
    assert Strided(length - 1).pairs(length) == length + 1
    assert Fixed(1000, 10).pairs(length) == 1000 * 500_500 + 10 * 1000 * 999 * 1000 // 2
    for name in options("model/attention"):
        with torch.device("meta"):
            layer = attention_factory(name)(WIDTH, HEADS, length, layer=1)
        causal = length * (length + 1) / 2
        assert length <= layer.visible_pairs(length) <= causal and layer.mixing_flops(length) > 0, name
        seen = layer.visible(45)
        assert layer.visible_pairs(45) == float(seen.sum()) / len(seen) or name == "sparsek"  # which chooses by content


@pytest.mark.parametrize(("pattern", "rule"), RULES, ids=[str(pattern) for pattern, _ in RULES])
@pytest.mark.parametrize("length", [1, 2, 13, 33])
def test_a_pattern_is_what_a_double_loop_gives_and_what_flex_attention_gives(pattern, rule, length):
    expected = by_loop(rule, length)
    assert torch.equal(mask(pattern, length), expected)
    assert torch.equal(create_mask(FlexMask([pattern], 1), 1, 1, length, length, device="cpu")[0, 0], expected)


@pytest.mark.parametrize(("pattern", "rule"), RULES, ids=[str(pattern) for pattern, _ in RULES])
def test_inside_documents_a_pattern_is_counted_from_their_beginning(pattern, rule):
    heads = FlexMask([Causal(), pattern], 2, (DOCUMENTS, places_in_documents(DOCUMENTS)))
    found = create_mask(heads, 2, 2, 33, 33, device="cpu")
    for row in range(2):
        starts = [int((DOCUMENTS[row] == ident).nonzero()[0]) for ident in DOCUMENTS[row]]
        for i, j in itertools.product(range(33), range(33)):
            together = j <= i and starts[i] == starts[j]
            assert bool(found[row, 0, i, j]) == together
            assert bool(found[row, 1, i, j]) == (together and rule(i - starts[i], j - starts[j]))


@pytest.mark.parametrize(("pattern", "golden"), GOLDEN.items(), ids=map(str, GOLDEN))
def test_the_pictures_of_the_specification(pattern, golden):
    assert picture(pattern, 8).replace("#", "1").split() == golden.split()


@pytest.mark.parametrize(("pattern", "rule"), RULES, ids=[str(pattern) for pattern, _ in RULES])
def test_every_query_sees_itself_and_nothing_later(pattern, rule):
    seen = mask(pattern, 33)
    assert seen.diagonal().all() and not seen.triu(1).any()


def test_average_keys_are_those_of_the_closed_forms():
    """T = 256, l = 32, 8 summary tokens: 30.06, 4.5 and 44.5 keys a query."""
    time, length, summary = 256, 32, 8
    for pattern, keys in (
        (Local(length), length - length * (length - 1) / (2 * time)),
        (Strided(length), (time / length + 1) / 2),
        (Fixed(length, summary), (length + 1) / 2 + summary * (time / length - 1) / 2),
    ):
        assert float(mask(pattern, time).sum()) / time == keys


def test_a_net_says_the_classes_and_the_share_of_pairs_that_its_layers_show():
    """T = 256: of causal attention's 128.5 keys a query, 44.5 and in turn 15.5 and 8.5."""
    sizes, device = {"d_model": 64, "n_head": 8, "block_size": 256}, torch.device("cpu")
    fixed = FixedAttention(**sizes, block=32, summary=8, groups=4, backend="sdpa")
    by_layer = [StridedAttention(**sizes, stride=16, alternate="layer", layer=layer) for layer in (0, 1)]
    windows = 16 - 16 * 15 / (2 * 256)
    for layers, kind, backend, keys in (
        ([fixed], "FixedAttention", "sdpa", 44.5),
        (by_layer, "StridedAttention", "reshape", (windows + 8.5) / 2),
        ([fixed, *by_layer], "FixedAttention StridedAttention", "sdpa reshape", (44.5 + windows + 8.5) / 3),
    ):
        said = describe_attention(accelerate(torch.nn.ModuleList(layers)), 256, device, documents=False)
        assert said == {"class": kind, "backend": backend, "visible_pairs": pytest.approx(keys / 128.5)}


def test_a_window_and_a_stride_together_reach_every_earlier_token_in_two_steps():
    local, strided = (mask(pattern, 64).float() for pattern in (Local(8), Strided(8)))
    assert torch.equal((strided @ local) > 0, torch.ones(64, 64, dtype=torch.bool).tril())


def test_two_fixed_layers_reach_earlier_blocks_through_their_summaries_only():
    fixed = mask(Fixed(8, 2), 64)
    reached = (fixed.float() @ fixed.float()) > 0
    for i, j in itertools.product(range(64), range(64)):
        own_block, summary = i // 8 == j // 8, j % 8 >= 6
        assert bool(reached[i, j]) == (j <= i and (own_block or summary or i // 8 > j // 8))


def test_the_places_in_documents_are_those_of_a_loop():
    for row, places in zip(DOCUMENTS.tolist(), places_in_documents(DOCUMENTS).tolist(), strict=True):
        place = 0
        for index in range(len(row)):
            place = place + 1 if index and row[index] == row[index - 1] else 0
            assert places[index] == place


@pytest.mark.parametrize("pattern", [Local(3), SlidingWindow(2, 4), Odd()], ids=str)
def test_an_input_longer_than_the_block_is_masked_alike(pattern):
    torch.manual_seed(0)
    plain, x = PatternAttention(8, 1, 6, patterns=[pattern], backend="sdpa"), torch.randn(1, 13, 8)
    expected = plain(x)
    torch.testing.assert_close(accelerate(plain)(x), expected, rtol=0, atol=1e-6)


def test_what_inference_has_built_is_not_what_training_is_given():
    ids = DOCUMENTS.clone()
    with torch.inference_mode():
        assert places_in_documents(ids).is_inference()
    assert not places_in_documents(ids).is_inference(), "autograd takes no tensor of inference mode"


def test_strided_alternates_with_local_by_head_by_layer_or_not():
    sizes = {"d_model": 32, "n_head": 4, "block_size": 24, "stride": 4}
    local, strided = mask(Local(4), 24), mask(Strided(4), 24)
    by_head = StridedAttention(**sizes, alternate="head").visible(24)
    assert torch.equal(by_head, torch.stack([local, local, strided, strided]))
    for layer in range(4):
        seen = StridedAttention(**sizes, alternate="layer", layer=layer).visible(24)
        assert torch.equal(seen, (strided if layer % 2 else local).expand(4, 24, 24))
    assert torch.equal(StridedAttention(**sizes, alternate="none").visible(24), strided.expand(4, 24, 24))


# The settings of the three saved runs of the first report: a block of 32 tokens, `vertsize` blocks of `b` tokens each.
PUBLISHED = [
    pytest.param({"block": 32, "summary": 128 * 128, "groups": 16}, "groups=16: must divide n_head=8", id="0.95"),
    pytest.param({"block": 32, "summary": 128 * 64, "groups": 8}, "summary=8192: at most block=32", id="1.08"),
    pytest.param({"block": 32, "summary": 128 * 16, "groups": 8}, "summary=2048: at most block=32", id="1.2567"),
    pytest.param({"block": 32, "summary": 128, "groups": 8}, "summary=128: at most block=32", id="in tokens"),
]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        *PUBLISHED,
        ({"block": 4, "summary": 1, "groups": 16}, "groups=16: must divide n_head=8"),
        ({"block": 4, "summary": 8, "groups": 1}, "summary=8: at most block=4"),
        ({"block": 4, "summary": 3, "groups": 1}, "summary=3: must divide block=4"),
        ({"block": 4, "summary": 1, "groups": 8}, "groups=8: groups * summary = 8 tokens are more than block=4"),
        ({"block": 0, "summary": 1, "groups": 1}, "block=0: at least 1"),
    ],
)
def test_fixed_patterns_that_break_a_rule_are_refused_by_the_rule(sizes, message):
    with pytest.raises(ValueError, match=message.replace("*", r"\*")):
        FixedAttention(64, 8, 256, **sizes)


def test_every_point_of_the_first_reports_sweep_is_refused():
    """243 of 243: heads and verts of 4 8 16, blocks of 32 64 128, verts of 64 128 256 blocks (n_bctx is derived)."""
    refused = 0
    for heads, verts, width, size in itertools.product((4, 8, 16), (4, 8, 16), (32, 64, 128), (64, 128, 256)):
        with pytest.raises(ValueError):
            FixedAttention(64, heads, 256, block=32, summary=size * width, groups=verts)
        refused += 3  # for any n_bctx of 1 2 4
    assert refused == 243


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LocalAttention(64, 4, 64, window=0), "window=0: at least 1"),
        (lambda: StridedAttention(64, 4, 64, stride=0), "stride=0: at least 1"),
        (lambda: StridedAttention(64, 4, 64, stride=4, alternate="heads"), "alternate=heads: one of head layer none"),
        (lambda: SlidingWindowAttention(64, 4, 64, window=0, sinks=1), "window=0: at least 1"),
        (lambda: SlidingWindowAttention(64, 4, 64, window=4, sinks=-1), "sinks=-1: at least 0"),
    ],
)
def test_sizes_of_patterns_are_checked(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("time", [1, 5, 31, 32, 33, 64, 100])
@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("pattern", [Local(8), Local(40), Local(1), Strided(8), Strided(3)], ids=str)
def test_the_reshaped_form_is_exact_at_any_length(pattern, documents, time):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, time, 6, dtype=torch.float64, requires_grad=True)
    k, v = k[:, :2], v[:, :2]
    ids = torch.randint(0, 2, (2, time)).cumsum(1).div(4, rounding_mode="floor") if documents else None
    seen = mask(pattern, time)
    if documents:
        seen = seen & (ids[:, None, :, None] == ids[:, None, None, :])
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)
    found = FORMS[pattern.form].mixed(pattern, q, k, v, ids, 0.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    up = torch.randn(expected.shape, dtype=torch.float64)
    for ours, theirs in zip(*(torch.autograd.grad(y, (q, k, v), up) for y in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("time", [1, 5, 8, 31, 64, 100])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_the_reshaped_form_of_all_fixed_groups_at_once_is_exact(kv_heads, time):
    torch.manual_seed(0)
    attention = accelerate(FixedAttention(32, 4, 128, block=8, summary=2, groups=4, n_kv_head=kv_heads).double())
    x = torch.randn(2, time, 32, dtype=torch.float64)
    found = []
    for attention.backend in ("reshape", "math"):
        y = attention(x)
        found.append((y, *torch.autograd.grad(y.square().sum(), list(attention.parameters()))))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


def test_heads_of_unequal_widths_agree_with_plain_tensors():
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 4, 9, 6, dtype=torch.float64)
    for width in (3, 6, 12):
        v = torch.randn(2, 4, 9, width, dtype=torch.float64)
        ours, plain = sdpa(q, k, v, causal=True), softmax_attention(q, k, v, causal=True)
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
