"""Promises of every attention variant: causal, documents apart, a cache that changes nothing, backends that agree."""

import itertools

import pytest
import torch
from attentions import (
    BLOCK,
    HEADS,
    HELD,
    REACH,
    SETTINGS,
    WIDTH,
    attention_factory,
    inputs,
    last_row_sees,
    plain_factory,
    sees,
)
from tiny import options

from frontpage.attention.kernels.describe import router_of

# FlexAttention is traced again for each of these, a second of work; all but one with everything in it are slow.
FLEX = [("grouped-norm-rotary", True)]
OTHERS = [pair for pair in itertools.product(SETTINGS, (False, True)) if pair not in FLEX]
FLEX += [pytest.param(*pair, marks=pytest.mark.slow) for pair in OTHERS]
ROW = 50  # tokens: longer than every default window, so that caches forget and patterns have gaps
CHUNKS = {"one by one": [1] * ROW, "two": [7, 43], "mixed": [5, 38, 1, 6], "at once": [ROW]}


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
    return attention_factory(name)


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS)
def settings(request):
    return request.param


@pytest.fixture
def make(factory):
    def made(seed=0, of=factory, **settings):
        torch.manual_seed(seed)
        return of(**{"d_model": WIDTH, "n_head": HEADS, "block_size": BLOCK, **settings}).eval()

    return made


def packed(first=(1, 5, 19, 15), second=(30, 1, 1, 8)):
    """Inputs (2, T, C) whose rows hold documents of these lengths, their ids, and positions inside them."""
    lengths = first, second
    ids = torch.stack([torch.repeat_interleave(torch.arange(4), torch.tensor(row)) for row in lengths])
    positions = torch.stack([torch.cat([torch.arange(length) for length in row]) for row in lengths])
    return inputs(2, sum(first)), ids, positions


def test_every_variant_says_how_far_it_reaches():
    variants, table = set(options("model/attention")), "REACH in tests/shared/attentions.py"
    assert variants - set(REACH) == set(), f"a line for each in the table {table}"
    assert set(REACH) | set(HELD) == variants, f"no such variant, in the table {table} or in HELD there"


def test_a_variant_is_named_alike_in_its_file_its_class_and_its_config(factory, name):
    """The layer that was asked for is the one that is built: `local`, attention/local.py, LocalAttention."""
    built = factory(d_model=WIDTH, n_head=HEADS, block_size=BLOCK)
    assert type(built).__module__ == f"frontpage.attention.{name}"
    assert type(built).__name__.lower() == f"{name.replace('_', '')}attention"


def test_changing_a_token_changes_no_output_before_it(make, settings):
    attention, x = make(**settings), inputs(2, 19)
    before = attention(x)
    for place in range(19):
        changed = x.clone()
        changed[:, place] = 5 + 5 * inputs(2, 19, seed=2)[:, place]
        after = attention(changed)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.equal(after[:, place], before[:, place])


def test_the_gradient_of_an_output_towards_later_inputs_is_exactly_zero(make, settings):
    attention = make(**settings)
    for time in (1, 2, 13):
        seen = sees(attention, time)
        assert not seen.triu(1).any()
        assert seen.any(0).diagonal().all()


def test_the_last_of_64_queries_depends_on_as_many_tokens_as_the_table_says(make, name):
    reached = float(last_row_sees(make(), 64).sum()) / HEADS
    assert reached == REACH.get(name), f"the line of {name} in REACH, tests/shared/attentions.py"


@pytest.mark.slow
def test_what_a_variant_says_it_shows_is_what_its_outputs_depend_on(make):
    attention = make()
    seen, said = sees(attention, 64), attention.visible(64).expand(HEADS, -1, -1)
    causal = torch.ones(64, 64, dtype=torch.bool).tril()
    if attention.visible_pairs(64) == float(said.sum()) / HEADS:  # not chosen by content
        assert torch.equal(seen, said)
    assert not (seen & ~said).any() and not (said & ~causal).any() and said.diagonal(dim1=1, dim2=2).all()
    narrower = attention.visible_pairs(64) < float(causal.sum())
    assert narrower == (not torch.equal(seen, causal.expand(HEADS, -1, -1))), "dispatch: another variant ran"


@pytest.mark.parametrize("time", [1, 2, 7, 33, 64])
def test_outputs_and_gradients_are_finite_at_any_length(make, settings, time):
    attention, x = make(**settings), inputs(2, time).requires_grad_()
    for documents in (None, torch.arange(2 * time).view(2, time), torch.zeros(2, time, dtype=torch.int64)):
        y = attention(x, document_ids=documents)
        y.square().sum().backward()
        assert y.shape == x.shape and y.isfinite().all()
        assert all(weight.grad.isfinite().all() for weight in [x, *attention.parameters()])


def test_packed_documents_give_what_each_gives_alone(make, settings):
    attention = make(**settings)
    x, ids, positions = packed((2, ROW, 3, 1), (ROW - 2, 1, 1, 6))  # the default windows end inside the long ones
    together = attention(x, document_ids=ids, positions=positions)
    for row, document in itertools.product(range(2), range(4)):
        own = ids[row] == document
        torch.testing.assert_close(together[row, own], attention(x[row : row + 1, own])[0], rtol=0, atol=1e-12)
    joined = attention(x, positions=positions)
    assert (joined - together).abs().max() > 1e-3  # without ids they are one document


def test_document_ids_only_tell_documents_apart(make):
    attention, (x, ids, positions) = make(), packed()
    renamed = 100 - 7 * ids
    expected = attention(x, document_ids=ids, positions=positions)
    assert torch.equal(attention(x, document_ids=renamed, positions=positions), expected)


def test_an_id_that_comes_again_is_of_another_document(make):
    attention, (x, ids, positions) = make(), packed()
    again = ids % 2
    expected = attention(x, document_ids=ids, positions=positions)
    assert (again[:, 1:] != again[:, :-1]).equal(ids[:, 1:] != ids[:, :-1]) and again.unique().numel() == 2
    torch.testing.assert_close(attention(x, document_ids=again, positions=positions), expected, rtol=0, atol=1e-12)


def test_ids_that_are_changed_in_place_are_read_again(make):
    attention, (x, ids, positions) = make(), packed()
    attention(x, document_ids=ids, positions=positions)
    ids.zero_()
    expected = attention(x, document_ids=torch.zeros_like(ids), positions=positions)
    assert torch.equal(attention(x, document_ids=ids, positions=positions), expected)


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
def test_continuing_a_cache_gives_what_all_tokens_at_once_give(make, settings, chunks):
    attention, x = make(**settings), inputs(3, ROW)
    cache, parts = attention.new_cache(), []
    for part in x.split(chunks, dim=1):
        parts.append(attention(part, cache=cache))
    torch.testing.assert_close(torch.cat(parts, dim=1), attention(x), rtol=0, atol=1e-10)
    assert len(cache) == ROW


def test_a_cache_holds_as_many_numbers_as_is_said_however_long_the_title(make, settings):
    attention = make(**settings)
    cache = attention.new_cache()
    with torch.no_grad():
        for time, part in enumerate(inputs(2, 64).split(1, dim=1), start=1):
            attention(part, cache=cache)
            numbers = sum(v[0].numel() for v in vars(cache).values() if torch.is_tensor(v) and v.is_floating_point())
            assert numbers == attention.cache_numbers(time), time


def test_after_64_tokens_a_cache_holds_as_many_numbers_as_the_table_says(make, name):
    line = f"the line of {name} in HELD, tests/shared/attentions.py: only one that keeps all has none"
    assert make().cache_numbers(64) == HELD.get(name), line


def test_a_cache_holds_one_document_a_row(make):
    attention = make()
    with pytest.raises(ValueError, match="document_ids"):
        attention(inputs(1, 2), document_ids=torch.zeros(1, 2, dtype=torch.int64), cache=attention.new_cache())


def test_a_shorter_input_gives_the_beginning_of_the_output(make, settings):
    attention, x = make(**settings), inputs(2, 40)
    whole = attention(x)
    for time in (1, 3, 16, 33):
        torch.testing.assert_close(attention(x[:, :time]), whole[:, :time], rtol=0, atol=1e-12)


def test_rows_of_a_batch_do_not_meet(make, settings):
    attention, x = make(**settings), inputs(3, 40)
    before = attention(x)
    x[1] = 100.0
    after = attention(x)
    assert torch.equal(after[[0, 2]], before[[0, 2]]) and not torch.equal(after[1], before[1])


def check_backends(make, settings, documents, backends):
    """In float64 to 1e-12, in float32 to 2e-6; gradients too, where the backend has them."""
    x, ids, positions = packed()
    context = {"document_ids": ids if documents else None, "positions": positions if documents else None}
    expected, gradients = None, {}
    for backend in ("auto", *backends):
        attention = make(**settings, backend=backend)
        training = backend != "flex"  # no backward pass on CPU
        try:
            router_of(attention).route(x.shape[1], x.device, documents=documents, training=training)
        except ValueError as refused:
            assert f"backend={backend}: " in str(refused)
            continue
        with torch.set_grad_enabled(training):
            y = attention(x, **context)
            expected = y.detach() if expected is None else expected
            torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
            single = attention.float()(x.float(), **context)
            torch.testing.assert_close(single.double(), expected, rtol=0, atol=2e-6)
            attention.double()
        if training:
            y.square().sum().backward()
            gradients[backend] = [weight.grad for weight in attention.parameters()]
    for grads in gradients.values():
        for gradient, first in zip(grads, gradients["auto"], strict=True):
            torch.testing.assert_close(gradient, first, rtol=0, atol=1e-10)


@pytest.mark.parametrize("documents", [False, True], ids=["one document", "documents"])
def test_the_fastest_path_gives_what_the_variant_computes_by_itself(name, make, settings, documents):
    """Its own file and parts/ alone, without the recipe's faster paths: the output, the input's gradient, the cache."""
    x, ids, positions = packed()
    context = {"document_ids": ids, "positions": positions} if documents else {}
    found = []
    for factory in (make, lambda **settings: make(**settings, of=plain_factory(name))):
        attention, given = factory(**settings), x.clone().requires_grad_()
        y = attention(given, **context)
        cached = attention(x, cache=attention.new_cache())
        found.append((y, cached, torch.autograd.grad(y.square().sum(), given)[0]))
    for fast, plain in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize("documents", [False, True], ids=["one document", "documents"])
def test_all_backends_give_the_same(make, settings, documents):
    check_backends(make, settings, documents, [name for name in make().backends if name != "flex"])


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("chosen", "documents"), FLEX)
@pytest.mark.slow
def test_flex_attention_gives_the_same(make, chosen, documents):
    if "flex" not in make().backends:
        pytest.skip("a variant without FlexAttention")
    check_backends(make, SETTINGS[chosen], documents, ["flex"])


def test_a_backend_that_does_not_exist_is_refused(make):
    with pytest.raises(ValueError, match="backend=cuda: one of auto "):
        make(backend="cuda")


def test_auto_names_a_backend_of_the_variant(make):
    attention = make()
    for documents, training, length in itertools.product((False, True), (False, True), (1, 64, 4096)):
        for device in ("cpu", "cuda", "mps"):
            path = router_of(attention).route(length, torch.device(device), documents=documents, training=training)
            assert path in attention.backends


@torch.no_grad()
def test_mixed_precision_on_cpu_stays_near(make, settings):
    attention, (x, ids, positions) = make(**settings).float(), packed()
    expected = attention(x.float(), document_ids=ids, positions=positions)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = attention(x.float(), document_ids=ids, positions=positions)
    assert (mixed.float() - expected).abs().max() < 0.03 * max(1.0, float(expected.abs().max()))


def test_a_seed_fixes_the_weights(make, settings):
    first, second, other = (make(seed, **settings).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_dropout_acts_in_training_only(make):
    attention, x = make(dropout=0.5), inputs(1, 16)
    assert torch.equal(attention(x), attention(x))
    assert torch.equal(attention(x), make()(x))
    torch.testing.assert_close(attention(x, cache=attention.new_cache()), make()(x), rtol=0, atol=1e-10)
    attention.train()
    assert not torch.equal(attention(x), attention(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_head": 3}, "n_head=3"),
        ({"n_kv_head": 3}, "n_kv_head=3"),
        ({"n_kv_head": 0}, "n_kv_head=0"),
        ({"n_kv_head": -2}, "n_kv_head=-2"),
        ({"dropout": 1.5}, "attention_dropout=1.5"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(factory, settings, message):
    with pytest.raises(ValueError, match=message):
        factory(**{"d_model": WIDTH, "n_head": HEADS, "block_size": BLOCK, **settings})
