"""Promises of what the notebooks measure: each estimate against a case whose answer is known."""

import functools

import numpy as np
import pytest
import torch
from attentions import BLOCK, HEADS, SETTINGS, WIDTH, inputs
from omegaconf import OmegaConf
from tiny import CONFIGS, options

from frontpage.analysis.notebooks.attention_maps import attention_maps, mixes_only, recorded_weights
from frontpage.analysis.notebooks.cost import processor_seconds, saved_bytes
from frontpage.analysis.notebooks.mutual_information import (
    common_tokens,
    dependence,
    mutual_information,
    pairs_across,
    pairs_within,
)
from frontpage.analysis.notebooks.near_duplicates import near_duplicates, normalised, shingles
from frontpage.attention.kernels.pattern_paths import accelerate
from frontpage.attention.parts.pattern import PatternAttention
from frontpage.command.build import build
from frontpage.data.encoded import EncodedTitles
from frontpage.models.gpt import GPT

# near-duplicates


def test_letters_marks_and_bracketed_endings_do_not_tell_titles_apart():
    same = ["Show HN: A Fast Parser!", "show hn - a fast parser", "Show HN: A fast parser (2014) [pdf]"]
    assert {normalised(title) for title in same} == {"show hn a fast parser"}
    assert normalised("C++ (and C)") != ""
    assert normalised("(2014)") == "2014"


@pytest.mark.parametrize("threshold", [0.4, 0.5, 0.6, 0.7, 1.0])
def test_near_duplicates_are_those_that_comparing_all_pairs_finds(threshold):
    random = np.random.default_rng(1)
    words = np.array("a b c d e f g h i j".split())
    queries, others = ([" ".join(random.choice(words, size)) for size in random.integers(1, 10, 80)] for _ in "qo")
    sets = [[shingles(title) for title in side] for side in (queries, others)]

    def similarity(query, other):
        one, two = sets[0][query], sets[1][other]
        return len(one & two) / len(one | two)

    best = {query: max(similarity(query, other) for other in range(len(others))) for query in range(len(queries))}
    pairs = near_duplicates(queries, others, threshold)
    assert {pair.query: pair.similarity for pair in pairs} == {q: s for q, s in best.items() if s >= threshold}
    assert 0 < len(pairs) < len(queries)
    assert all(similarity(pair.query, pair.other) == pair.similarity for pair in pairs)


# mutual information


def titles_as_tokens(lists):
    """EncodedTitles of lists of tokens, each closed by 1."""
    offsets = np.cumsum([0, *(len(one) + 1 for one in lists)])
    return EncodedTitles(np.array([token for one in lists for token in [*one, 1]], dtype=np.uint16), offsets)


def test_mutual_information_of_a_copy_is_its_entropy_and_of_independent_sides_zero():
    copied = np.repeat(np.arange(4), 25)
    assert mutual_information(copied, copied, 4) == pytest.approx(np.log(4))
    grid = np.divmod(np.arange(16), 4)
    assert mutual_information(*grid, 4) == pytest.approx(0, abs=1e-12)


def test_shuffling_takes_the_bias_of_few_counts_off():
    random = np.random.default_rng(0)
    apart = random.integers(0, 30, (2, 20_000))
    measured = dependence(*apart, 30)
    assert measured.counted == pytest.approx(29**2 / (2 * 20_000), rel=0.15)  # the plug-in estimate's known bias
    assert abs(measured.beyond_chance) < 4 * measured.spread
    noisy = np.where(random.random(20_000) < 0.5, apart[0], apart[1])
    assert dependence(apart[0], noisy, 30).beyond_chance > 20 * measured.spread


def test_pairs_lie_in_one_title_and_leave_its_end_out():
    encoded = titles_as_tokens([[5, 6, 7], [8], [9, 10]])
    first, second = pairs_within(encoded, 1)
    assert [*zip(encoded.tokens[first].tolist(), encoded.tokens[second].tolist(), strict=True)] == [
        (5, 6),
        (6, 7),
        (9, 10),
    ]
    first, second = pairs_within(encoded, 2)
    assert [*zip(encoded.tokens[first].tolist(), encoded.tokens[second].tolist(), strict=True)] == [(5, 7)]
    first, second = pairs_across(encoded)
    assert [*zip(encoded.tokens[first].tolist(), encoded.tokens[second].tolist(), strict=True)] == [(7, 8), (8, 9)]


def test_rare_tokens_are_merged_and_common_ones_are_not():
    encoded = titles_as_tokens([[5, 5, 5, 6, 6, 7], [8, 5, 6]])
    assert common_tokens(encoded, 3).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 0, 1, 2]


# attention maps

MIXING = {"bottleneck", "causal", "fixed", "local", "sliding_window", "sparsek", "strided"}
NOT_MIXING = {"differential", "gated", "gated_delta", "mla"}  # a new variant needs no entry, and is what it says


@functools.cache
def factory_of(name):
    """A variant as its file has it; to compose a whole config for each would take seconds."""
    return build(OmegaConf.load(CONFIGS / "model" / "attention" / f"{name}.yaml"), "model.attention")


def layer_of(name, setting="plain"):
    torch.manual_seed(0)
    return factory_of(name)(WIDTH, HEADS, BLOCK, **SETTINGS[setting]).eval()


@pytest.mark.parametrize("setting", ["plain", "grouped-norm-rotary"])
@pytest.mark.parametrize("name", sorted(set(options("model/attention")) - NOT_MIXING))
@pytest.mark.parametrize("time", [BLOCK, 3 * BLOCK])  # long enough for every compiled kernel, too
def test_the_recorded_weights_are_what_the_output_is_made_of(name, setting, time):
    torch.manual_seed(0)
    layer, x = accelerate(factory_of(name)(WIDTH, HEADS, 3 * BLOCK, **SETTINGS[setting])).eval(), inputs(2, time)
    if name not in MIXING and not mixes_only(layer):
        pytest.skip("a new variant that says it gives no map")
    given = []
    with torch.no_grad(), recorded_weights([layer]) as maps:
        inner = layer.attend
        layer.attend = lambda q, k, v, **context: given.append(v) or inner(q, k, v, **context)
        y = layer(x)
    values = given[0].repeat_interleave(HEADS // given[0].shape[1], dim=1)
    mixed = (maps[0] @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer.out(mixed), y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps[0].sum(-1), torch.ones(2, HEADS, time))
    assert (maps[0] >= 0).all()
    if isinstance(layer, PatternAttention):
        assert ((maps[0] > 0) <= layer.visible(time)).all()


@pytest.mark.parametrize("name", options("model/attention"))
def test_a_layer_does_as_before_when_its_weights_were_recorded_and_refuses_what_are_no_weights(name):
    layer, x = layer_of(name), inputs(1, 8)
    assert name not in MIXING | NOT_MIXING or mixes_only(layer) == (name in MIXING)
    before = layer(x)
    if mixes_only(layer):
        with recorded_weights([layer]) as maps:
            layer(x)
        assert len(maps) == 1
        assert "attend" not in vars(layer)
        torch.testing.assert_close(layer(x), before, rtol=0, atol=0)
    else:
        with pytest.raises(ValueError, match="no weighted mean"), recorded_weights([layer]):
            pass


def test_a_net_gives_a_map_for_each_layer():
    sizes = {"vocab_size": 20, "block_size": 16, "d_model": 32, "n_layer": 3, "n_head": 2}
    net = GPT(**sizes, attention=factory_of("causal")).eval()
    maps = attention_maps(net, torch.arange(10)[None])
    assert [tuple(weights.shape) for weights in maps] == [(2, 10, 10)] * 3
    assert all((weights.triu(1) == 0).all() for weights in maps)


# costs


def test_saved_bytes_are_those_that_the_backward_pass_needs_each_storage_once():
    x, weight = torch.randn(8, 4, requires_grad=True), torch.randn(4, 16, requires_grad=True)
    product = 4 * 8 * 16  # bytes
    assert saved_bytes(lambda: x @ weight, without=[x, weight]) == 0
    assert saved_bytes(lambda: x @ weight) == 4 * (8 * 4 + 4 * 16)
    assert saved_bytes(lambda: (x @ weight).exp(), without=[x, weight]) == product
    assert saved_bytes(lambda: (x @ weight).exp().square(), without=[x, weight]) == product  # of exp, shared
    assert saved_bytes(lambda: (x @ weight).sigmoid().exp(), without=[x, weight]) == 2 * product


def test_runs_take_turns_and_the_warm_up_is_not_counted():
    order = []
    runs = {name: (lambda name=name: order.append(name)) for name in "ab"}
    seconds = processor_seconds(runs, rounds=3, warm_up=2)
    assert order == ["a", "b"] * 5
    assert {*seconds} == {*runs}
