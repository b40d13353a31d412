"""SparseK attention against plain loops, the gradient that autograd gives, and the defects of the original."""

import itertools
import math

import pytest
import torch
from attentions import BLOCK, HEADS, WIDTH, attention_factory, inputs
from sparsek_oracles import FIGURE, KNOBS, best, naive, normal, packed_ids
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from frontpage.attention.causal import CausalAttention
from frontpage.attention.kernels.sparsek_operator import causal_sparsek
from frontpage.attention.sparsek import SparseKAttention, StraightThrough, gated
from frontpage.models.gpt import GPT

GATES = ["straight_through", "soft", "hard"]


@pytest.fixture(autouse=True)
def exact():
    """float64 everywhere, the tables of rotary positions included."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make(gate="straight_through", k=3, window=2, seed=0, **settings):
    torch.manual_seed(seed)
    settings = {"d_model": WIDTH, "n_head": HEADS, "block_size": BLOCK, "epsilon": 1e-3, **settings}
    return SparseKAttention(k=k, window=window, gate=gate, **settings).eval()


def test_places_are_told_apart_where_bf16_is_the_type_of_a_step():
    attention, x = make(epsilon=1e-3).bfloat16(), inputs(1, BLOCK).bfloat16() * 0
    torch.set_default_dtype(torch.bfloat16)
    assert attention._scores(x, None, None).unique().numel() == BLOCK


# Straight-through attention.


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize(("k", "window"), [(3, 2), (4, 0), (1, 24)], ids=str)
def test_straight_through_gradients_are_those_of_autograd(kv_heads, k, window):
    ids = packed_ids()[:, :24]
    q, key, value = normal(2, 4, 24, 6), normal(2, kv_heads, 24, 6, seed=4), normal(2, kv_heads, 24, 6, seed=5)
    leaves = [part.requires_grad_() for part in (q, key, value, normal(2, 24, seed=6))]
    upstream = normal(2, 4, 24, 6, seed=7)
    query, token = torch.arange(24)[:, None], torch.arange(24)
    near = (token <= query) & (query - token < window) & (ids[:, :, None] == ids[:, None])

    def gradients(attend):
        gates, chosen = causal_sparsek(leaves[3], k, window, ids)
        y = attend(gates, chosen)
        return y, *torch.autograd.grad(y, leaves, upstream, allow_unused=window == 24)

    def plain(gates, chosen):
        gates = torch.where(chosen, 1 + gates - gates.detach(), 1)
        return gated(*leaves[:3], chosen | near, gates)

    fused = gradients(lambda gates, chosen: StraightThrough.apply(*leaves[:3], gates, chosen | near))
    for ours, theirs in zip(fused, gradients(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_straight_through_gradients_of_queries_keys_and_values_are_numeric_ones():
    leaves = [normal(1, 2, 6, 3, seed=seed).requires_grad_() for seed in (1, 2, 3)]
    gates, chosen = causal_sparsek(normal(1, 6), 2, 1)
    visible = chosen | torch.eye(6, dtype=torch.bool)
    torch.autograd.gradcheck(lambda *qkv: StraightThrough.apply(*qkv, gates, visible), leaves)


# The layer.


def looped(attention, x, ids=None):
    """What the layer gives one row of inputs (T, C), in plain loops over heads, queries and keys."""
    time, width, groups = len(x), attention.head_width, attention.n_kv_head
    ids = [0] * time if ids is None else ids.tolist()
    place = [sum(other == own for other in ids[:index]) for index, own in enumerate(ids)]
    scores = [float(x[i] @ attention.scorer) + attention.epsilon * place[i] for i in range(time)]
    gates, chosen = naive(torch.tensor(scores), attention.k, attention.window, ids)
    projected, mixed = attention.qkv(x), torch.zeros(time, attention.n_head * width)
    for head, query in itertools.product(range(attention.n_head), range(time)):
        group = head // (attention.n_head // groups)
        q, k, v = (
            projected[:, start * width : (start + 1) * width]
            for start in (head, attention.n_head + group, attention.n_head + groups + group)
        )
        near = [j for j in range(query + 1) if query - j < attention.window and ids[j] == ids[query]]
        far = [j for j in range(query + 1) if chosen[query, j]]
        weights = {j: math.exp(float(q[query] @ k[j]) / math.sqrt(width)) for j in near + far}
        for j, weight in weights.items():
            gate = float(gates[query, j]) if attention.gate == "soft" and j in far else 1
            mixed[query, head * width : (head + 1) * width] += weight / sum(weights.values()) * gate * v[j]
    return attention.out(mixed)


@torch.no_grad()
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("k", "window"), [(3, 2), (5, 0), (2, 6)], ids=str)
@pytest.mark.parametrize("documents", [False, True], ids=["one document", "documents"])
def test_the_layer_is_its_formula(gate, k, window, documents):
    """The keys are not gated, the softmax is over keys and scaled, what is not chosen has no weight at all."""
    attention = make(gate, k, window, d_model=12, n_head=2, n_kv_head=1, d_inner=8)
    x, ids = normal(2, 18, 12), packed_ids()[:, 2:20] if documents else None
    y = attention(x, document_ids=ids)
    for row in range(2):
        expected = looped(attention, x[row], ids[row] if documents else None)
        torch.testing.assert_close(y[row], expected, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_soft_gates_weaken_values_and_nothing_makes_up_for_it():
    attention = make("soft", k=3, window=1, d_model=10, n_head=1, epsilon=0.0)
    attention.scorer.data = torch.eye(10)[0]
    x = torch.zeros(1, 10, 10)
    x[0, :, 0] = torch.tensor([*FIGURE, 0.0])
    zero, one = torch.zeros(1, 1, 10, 10), torch.eye(10).view(1, 1, 10, 10)
    y = attention.attend(zero, zero, one, x=x, document_ids=None, cache=None)[0, 0]
    rows = {
        5: [0.25, 0, 0.25, 0.25, 0.25, 0, 0, 0, 0, 0],
        6: [0.25, 0, 0, 0.25, 0.175, 0.25, 0, 0, 0, 0],
        10: [0, 0, 0, 0, 0, 0.25, 0, 0.25, 0.225, 0.25],
    }
    for query, expected in rows.items():
        torch.testing.assert_close(y[query - 1], torch.tensor(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("k", "window"), [(64, 1), (1, 64), (64, 64), (64, 0)], ids=str)
def test_with_as_many_tokens_as_there_are_it_is_dense_attention(gate, k, window):
    attention, x = make(gate, k, window), inputs(2, 40)
    dense = CausalAttention(WIDTH, HEADS, BLOCK)
    dense.load_state_dict({name: weight for name, weight in attention.state_dict().items() if name != "scorer"})
    for ids in (None, packed_ids()):
        expected = dense(x, document_ids=ids)
        torch.testing.assert_close(attention(x, document_ids=ids), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("k", "window"), [(3, 1), (2, 4), (4, 0)], ids=str)
def test_a_later_token_of_a_far_higher_score_displaces_nothing_earlier(gate, k, window):
    """The original ranked all tokens of the row: a future one took the place of a past one."""
    attention, x = make(gate, k, window), inputs(2, 24)
    before = attention(x)
    for place in range(24):
        higher = x.clone()
        higher[:, place:] += 5 * attention.scorer.detach() / attention.scorer.detach().square().sum()
        assert torch.equal(attention(higher)[:, :place], before[:, :place])
    leaf = x.clone().requires_grad_()
    for place in range(24):
        (gradient,) = torch.autograd.grad(attention(leaf)[:, place].sum(), leaf)
        assert not gradient[:, place + 1 :].any()


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("k", "window"), [(3, 1), (2, 4), (4, 0)], ids=str)
def test_a_packed_title_and_its_gradients_are_what_it_gives_alone(gate, k, window):
    attention, ids = make(gate, k, window), packed_ids()
    x = inputs(2, 40).requires_grad_()
    weights = normal(2, 40, WIDTH)
    packed = attention(x, document_ids=ids)
    (whole,) = torch.autograd.grad((packed * weights).sum(), x)
    for row, document in itertools.product(range(2), range(4)):
        own = ids[row] == document
        title = x.detach()[row : row + 1, own].requires_grad_()
        alone = attention(title)
        torch.testing.assert_close(packed[row, own], alone[0], rtol=0, atol=1e-12)
        (gradient,) = torch.autograd.grad((alone * weights[row, own]).sum(), title)
        torch.testing.assert_close(whole[row, own], gradient[0], rtol=0, atol=1e-12)


def test_a_row_does_not_depend_on_the_spread_of_scores_in_another():
    """The original searched all rows of a batch between the same bounds."""
    calm = normal(1, 30, scale=0.01)
    together, _ = causal_sparsek(torch.cat((calm, normal(1, 30, scale=1e6))), 4)
    torch.testing.assert_close(together[:1], causal_sparsek(calm, 4)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["sdpa", "math"])
def test_what_is_not_chosen_has_no_weight(backend):
    """The original set those keys to zero: they kept a weight of e^0."""
    attention, x = make(k=2, window=2, backend=backend), inputs(1, 12)
    scores = x[0] @ attention.scorer.detach() + 1e-3 * torch.arange(12)
    q, k, v = (normal(1, HEADS, 12, 16, seed=seed) for seed in (1, 2, 3))
    out_of_sight = [j for j in range(10) if j not in best(scores[:10].tolist(), 2)]
    y = attention.attend(q, k, v, x=x, document_ids=None, cache=None)
    v[:, :, out_of_sight] = 1e6
    assert torch.equal(attention.attend(q, k, v, x=x, document_ids=None, cache=None)[:, :, -1], y[:, :, -1])


def test_the_three_gates_differ_where_they_should():
    x = inputs(2, 30)
    found = {}
    for gate in GATES:
        attention = make(gate)
        y = attention(x)
        y.square().sum().backward()
        found[gate] = y.detach(), attention.scorer.grad
    assert torch.equal(found["straight_through"][0], found["hard"][0])
    assert not torch.allclose(found["soft"][0], found["hard"][0])
    assert found["hard"][1] is None
    assert found["soft"][1].any() and found["straight_through"][1].any()


# Generation.


@torch.no_grad()
@pytest.mark.parametrize("chunks", [[7, 13], [1] * 20, [5, 1, 1, 6, 7], [20]], ids=str)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("k", "window"), KNOBS, ids=str)
def test_continuing_a_cache_gives_what_all_tokens_at_once_give(gate, chunks, k, window):
    attention, x = make(gate, k, window, n_kv_head=2, rotary=True), inputs(3, 20)
    cache = attention.new_cache()
    parts = [attention(part, cache=cache) for part in x.split(chunks, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), attention(x), rtol=0, atol=1e-10)
    assert len(cache) == 20


@torch.no_grad()
def test_equal_scores_leave_the_cache_as_they_leave_the_choice():
    attention, x = make(k=2, window=2, epsilon=0.0), inputs(2, 20)
    attention.scorer.zero_()
    cache = attention.new_cache()
    parts = [attention(part, cache=cache) for part in x.split([3, 1, 1, 9, 1, 5], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), attention(x), rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("k", "window"), [(4, 3), (5, 0), (1, 1)], ids=str)
def test_the_cache_is_as_large_as_is_said_and_only_soft_gates_make_it_grow(gate, k, window):
    attention, held = make(gate, k, window), []
    cache = attention.new_cache()
    for time, part in enumerate(inputs(2, 50).split(1, dim=1), start=1):
        attention(part, cache=cache)
        held.append(sum(value[0].numel() for value in vars(cache).values() if torch.is_tensor(value)))
        assert held[-1] == attention.cache_numbers(time)
    assert held[-1] - held[20] == (29 if gate == "soft" else 0)
    assert cache.keys.shape[2] == k + max(window - 1, 0)


# What it says of itself, and how it is built.


def test_the_backend_that_is_named_is_the_one_that_can():
    cpu = torch.device("cpu")
    assert make().route(8, cpu) == make("hard").route(8, cpu) == "sdpa"
    assert make("soft").route(8, cpu) == make("soft", backend="math").route(8, cpu) == "math"
    assert make(backend="math").route(8, cpu) == make("hard", backend="math").route(8, cpu) == "math"
    with pytest.raises(ValueError, match="^backend=sdpa: .*gate=soft; auto math"):
        make("soft", backend="sdpa")
    assert make(dropout=0.1).route(8, cpu) == "math"
    assert make(dropout=0.1).route(8, cpu, training=False) == make("hard", dropout=0.1).route(8, cpu) == "sdpa"
    with pytest.raises(ValueError, match="^backend=sdpa: .*attention_dropout=0.1"):
        make(dropout=0.1, backend="sdpa").route(8, cpu)


@pytest.mark.parametrize("gate", GATES)
def test_dropout_drops_weights_in_training(gate):
    x = inputs(2, 24)
    attention = make(gate, dropout=0.3).train()
    torch.manual_seed(5)
    y = attention(x)
    y.square().sum().backward()
    assert not torch.allclose(y, make(gate)(x))
    assert attention.scorer.grad is None if gate == "hard" else attention.scorer.grad.any()
    reference = make("soft" if gate == "soft" else "hard", dropout=0.3, backend="math").train()
    if gate != "hard":  # the same random numbers on the same path
        torch.manual_seed(5)
        torch.testing.assert_close(reference(x), y, rtol=0, atol=1e-12)


def test_pairs_are_counted_as_they_are_whatever_the_scores():
    attention = make(k=3, window=2)
    q = k = torch.zeros(1, HEADS, 20, 20)
    v = torch.eye(20).expand(1, HEADS, 20, 20)
    weights = attention.attend(q, k, v, x=inputs(1, 20), document_ids=None, cache=None)[0, 0]
    assert attention.visible_pairs(20) == int((weights > 0).sum()) == sum(min(i + 1, 5) for i in range(20))
    assert torch.equal(attention.visible(20), torch.ones(1, 20, 20, dtype=torch.bool).tril())


def test_the_nets_initialisation_leaves_the_scores_their_spread():
    factory = attention_factory("sparsek")
    torch.manual_seed(0)
    net = GPT(50, d_model=256, n_layer=2, n_head=4, block_size=32, attention=factory)
    for block in net.blocks:
        assert block.attention.scorer.shape == (256,)  # and no bias, which would have no gradient
        assert float(block.attention.scorer.detach().std()) == pytest.approx(2 / 16, rel=0.15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k=0: at least 1"),
        ({"window": -1}, "window=-1: at least 0"),
        ({"epsilon": -1e-3}, "epsilon=-0.001: at least 0"),
        ({"gate": "st"}, "gate=st: straight_through soft or hard"),
        ({"backend": "flex"}, "backend=flex: one of auto sdpa math"),
    ],
)
def test_knobs_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("gate", GATES)
def test_it_runs_without_looking_at_a_number(gate, capsys):
    """No loop over tokens, no copy to the host: fake tensors have no numbers to look at. And it prints nothing."""
    with FakeTensorMode():
        attention, x = make(gate), torch.zeros(2, 40, WIDTH, requires_grad=True)
        for ids in (None, torch.zeros(2, 40, dtype=torch.int64)):
            y = attention(x, document_ids=ids)
            y.sum().backward()
            assert y.shape == x.shape and x.grad.shape == x.shape
        cache = attention.new_cache()
        assert attention(x, cache=cache).shape == attention(x, cache=cache).shape
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("gate", GATES)
def test_mixed_precision_trains(gate):
    attention = make(gate, rotary=True, qk_norm=True, n_kv_head=2).float()
    x = inputs(2, 40).float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = attention(x, document_ids=packed_ids())
    y.float().square().sum().backward()
    exact = make(gate, rotary=True, qk_norm=True, n_kv_head=2)
    exact(inputs(2, 40), document_ids=packed_ids()).square().sum().backward()
    for name, weight in exact.named_parameters():
        if weight.grad is not None:
            near = F.cosine_similarity(
                weight.grad.flatten(), dict(attention.named_parameters())[name].grad.flatten(), 0
            )
            assert float(near) > 0.99, name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # the compiler's own doing
def test_it_compiles_as_one_graph():
    attention, x = make(), inputs(2, 40).requires_grad_()
    compiled = torch.compile(attention, backend="aot_eager", fullgraph=True)
    results = [run(x, document_ids=packed_ids()) for run in (attention, compiled)]
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in results]
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-10)
