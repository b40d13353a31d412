"""Promises of every attention variant: causal, documents apart, a cache that changes nothing, finite, deterministic."""

import itertools

import pytest
import torch
from hydra import compose, initialize_config_dir
from tiny import CONFIGS, options

from frontpage.attention.base import KeyValueCache
from frontpage.build import build

# How many keys the last of 16 queries sees, over all heads: one line for each variant.
REACH = {"causal": 16}

WIDTH = 64
VARIANTS = [
    pytest.param({}, id="plain"),
    pytest.param({"rotary": True}, id="rotary"),
    pytest.param({"n_kv_head": 2}, id="grouped"),
    pytest.param({"n_kv_head": 1, "qk_norm": True, "rotary": True, "bias": False}, id="grouped-norm-rotary"),
]


@pytest.fixture(autouse=True)
def exact():
    """float64 everywhere, the tables of rotary positions included."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module", params=options("model/attention"))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def factory(name):
    with initialize_config_dir(str(CONFIGS)):
        config = compose("train", overrides=["paths.run_dir=unused", f"model/attention={name}"])
    return build(config.model.attention, "model.attention")


@pytest.fixture
def make(factory):
    def made(seed=0, **settings):
        torch.manual_seed(seed)
        return factory(d_model=WIDTH, n_head=4, block_size=64, **settings).eval()

    return made


def inputs(rows, time, seed=1):
    return torch.randn(rows, time, WIDTH, generator=torch.Generator().manual_seed(seed))


def sees(attention, time):
    """(time, time): whether the output at a row's place depends on the input at the column's, by gradients."""
    x = inputs(1, time).requires_grad_()
    rows = [torch.autograd.grad(output.square().sum(), x, retain_graph=True)[0] for output in attention(x)[0]]
    return torch.stack([row[0].abs().sum(-1) > 0 for row in rows])


def test_every_variant_says_how_far_it_reaches():
    assert set(REACH) == set(options("model/attention"))


@pytest.mark.parametrize("settings", VARIANTS)
def test_changing_a_token_changes_no_output_before_it(make, settings):
    attention, x = make(**settings), inputs(2, 19)
    before = attention(x)
    for place in range(19):
        changed = x.clone()
        changed[:, place] = 5 + 5 * inputs(2, 19, seed=2)[:, place]
        after = attention(changed)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.equal(after[:, place], before[:, place])


@pytest.mark.parametrize("settings", VARIANTS)
def test_the_gradient_of_an_output_towards_later_inputs_is_exactly_zero(make, settings):
    attention = make(**settings)
    for time in (1, 2, 16, 19):
        seen = sees(attention, time)
        assert not seen.triu(1).any()
        assert seen.diagonal().all()


def test_the_last_of_16_queries_sees_as_many_keys_as_the_table_says(make, name):
    assert int(sees(make(), 16)[-1].sum()) == REACH[name]


@pytest.mark.parametrize("time", [1, 2, 7, 33, 64])
@pytest.mark.parametrize("settings", VARIANTS)
def test_outputs_and_gradients_are_finite_at_any_length(make, settings, time):
    attention, x = make(**settings), inputs(2, time).requires_grad_()
    for documents in (None, torch.arange(2 * time).view(2, time), torch.zeros(2, time, dtype=torch.int64)):
        y = attention(x, document_ids=documents)
        y.square().sum().backward()
        assert y.shape == x.shape and y.isfinite().all()
        assert all(weight.grad.isfinite().all() for weight in [x, *attention.parameters()])


@pytest.mark.parametrize("settings", VARIANTS)
def test_packed_documents_give_what_each_gives_alone(make, settings):
    attention = make(**settings)
    lengths = [[1, 5, 9, 7], [8, 1, 1, 12]]
    x = inputs(2, 22)
    ids = torch.stack([torch.repeat_interleave(torch.arange(4), torch.tensor(row)) for row in lengths])
    positions = torch.stack([torch.cat([torch.arange(length) for length in row]) for row in lengths])
    packed = attention(x, document_ids=ids, positions=positions)
    for row, document in itertools.product(range(2), range(4)):
        own = ids[row] == document
        torch.testing.assert_close(packed[row, own], attention(x[row : row + 1, own])[0], rtol=0, atol=1e-12)
    joined = attention(x, positions=positions)
    assert (joined - packed).abs().max() > 1e-3  # without ids they are one document


@pytest.mark.parametrize("chunks", [[1] * 20, [7, 13], [5, 1, 1, 6, 7], [20]], ids=str)
@pytest.mark.parametrize("settings", VARIANTS)
def test_continuing_a_cache_gives_what_all_tokens_at_once_give(make, settings, chunks):
    attention, x = make(**settings), inputs(3, 20)
    cache, parts = KeyValueCache(), []
    for part in x.split(chunks, dim=1):
        parts.append(attention(part, cache=cache))
    torch.testing.assert_close(torch.cat(parts, dim=1), attention(x), rtol=0, atol=1e-10)
    assert len(cache) == 20


def test_a_cache_holds_one_document_a_row(make):
    with pytest.raises(ValueError, match="document_ids"):
        make()(inputs(1, 2), document_ids=torch.zeros(1, 2, dtype=torch.int64), cache=KeyValueCache())


@pytest.mark.parametrize("settings", VARIANTS)
def test_a_shorter_input_gives_the_beginning_of_the_output(make, settings):
    attention, x = make(**settings), inputs(2, 20)
    whole = attention(x)
    for time in (1, 3, 16):
        torch.testing.assert_close(attention(x[:, :time]), whole[:, :time], rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", VARIANTS)
def test_rows_of_a_batch_do_not_meet(make, settings):
    attention, x = make(**settings), inputs(3, 12)
    before = attention(x)
    x[1] = 100.0
    after = attention(x)
    assert torch.equal(after[[0, 2]], before[[0, 2]]) and not torch.equal(after[1], before[1])


@pytest.mark.parametrize("settings", VARIANTS)
def test_a_seed_fixes_the_weights(make, settings):
    first, second, other = (
        make(0, **settings).state_dict(),
        make(0, **settings).state_dict(),
        make(1, **settings).state_dict(),
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_dropout_acts_in_training_only(make):
    attention, x = make(dropout=0.5), inputs(1, 16)
    assert torch.equal(attention(x), attention(x))
    assert torch.equal(attention(x), make()(x))
    attention.train()
    assert not torch.equal(attention(x), attention(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_head": 3}, "n_head=3"),
        ({"n_kv_head": 3}, "n_kv_head=3"),
        ({"n_kv_head": 0}, "n_kv_head=0"),
        ({"n_kv_head": -2}, "n_kv_head=-2"),
        ({"n_head": WIDTH, "rotary": True}, "even head width"),
        ({"dropout": 1.5}, "attention_dropout=1.5"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(factory, settings, message):
    with pytest.raises(ValueError, match=message):
        factory(**{"d_model": WIDTH, "n_head": 4, "block_size": 64, **settings})
