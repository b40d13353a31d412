"""SparseK's choice as lists, by the compiled kernel and in chunks, against the operator on whole squares and a sort."""

import pytest
import torch
from sparsek_oracles import KNOBS, naive, normal, packed_ids

from frontpage.attention.kernels import gathered_keys, sparsek_choice
from frontpage.attention.kernels.gathered_keys import gathered
from frontpage.attention.kernels.sparsek_choice import (
    ChosenGates,
    choice_problem,
    choose,
    gates_of,
    lists_of,
    scores_gradient,
)
from frontpage.attention.kernels.sparsek_kernel import sparsek_by_kernel
from frontpage.attention.kernels.sparsek_operator import Gates, Ranking, candidate_ranges, causal_sparsek
from frontpage.attention.sparsek import gated

WAYS = pytest.mark.parametrize("by_kernel", [True, False], ids=["kernel", "chunks"])
GATES = ["straight_through", "soft", "hard"]
KINDS = {  # of scores (B, T)
    "spread": lambda time, seed: normal(3, time, seed=seed, scale=2.0),
    "narrow": lambda time, seed: normal(3, time, seed=seed, scale=0.05),
    "far apart": lambda time, seed: normal(3, time, seed=seed, scale=50.0),
    "whole numbers": lambda time, seed: normal(3, time, seed=seed, scale=1.0).round(),
    "halves": lambda time, seed: (2 * normal(3, time, seed=seed, scale=1.0)).round() / 2,
    "tenths": lambda time, seed: (10 * normal(3, time, seed=seed, scale=1.0)).round() / 10,
    "all equal": lambda time, seed: torch.full((3, time), 0.7),
    "rising": lambda time, seed: torch.arange(float(time)).expand(3, -1) * 0.01 + normal(3, time, seed=seed, scale=0.1),
    "falling": lambda time, seed: -torch.arange(float(time)).expand(3, -1) * 0.3,
}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """float64 everywhere, and chunks of a few queries."""
    if problem := choice_problem():
        pytest.skip(problem)
    monkeypatch.setattr(sparsek_choice, "PAIRS_AT_ONCE", 700)
    monkeypatch.setattr(gathered_keys, "NUMBERS_AT_ONCE", 3000)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def documents(time, seed, share=0.2):
    """Ids (3, T); many are of one token."""
    return (torch.rand(3, time, generator=torch.Generator().manual_seed(seed)) < share).long().cumsum(1)


def spread(choice, values, tokens):
    """(B, Q, k) of the chosen -> (B, Q, S), 0 elsewhere."""
    used = torch.arange(choice.chosen.shape[2]) < choice.count[..., None]
    places = torch.where(used, choice.chosen.long(), tokens)
    return values.new_zeros(*places.shape[:2], tokens + 1).scatter(2, places, values)[..., :tokens]


def drawn(count, seed):
    """Lengths, k and windows."""
    generator = torch.Generator().manual_seed(seed)

    def below(most):
        return int(torch.randint(most, (1,), generator=generator))

    return [(1 + below(60), 1 + below(20), below(8)) for _ in range(count)]


@WAYS
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [False, True], ids=["one document", "documents"])
def test_choice_gates_and_gradient_are_those_of_whole_squares(by_kernel, kind, packed):
    for seed, (time, k, window) in enumerate(drawn(12, seed=len(kind))):
        scores, ids = KINDS[kind](time, seed).contiguous(), documents(time, seed) if packed else None
        first, last = candidate_ranges(time, window, ids, scores.device)
        ranking = Ranking(scores, first, last)
        choice = choose(scores, first, k, window, time, by_kernel=by_kernel)
        every = torch.ones(choice.chosen.shape)
        assert torch.equal(spread(choice, every, time) > 0, ranking.top(k))
        columns = torch.arange(choice.chosen.shape[2] - 1)
        pairs = choice.chosen.diff(dim=2) > 0
        assert bool((pairs | (columns + 1 >= choice.count[..., None])).all()), "ascending"
        expected = ranking.thresholds(k)
        torch.testing.assert_close(choice.thresholds, expected, rtol=0, atol=1e-11)
        leaves = [scores.clone().requires_grad_() for _ in range(2)]
        upstream = normal(*choice.chosen.shape, seed=seed + 1)
        dense = Gates.apply(leaves[0], expected, first, last)
        gates = gates_of(scores, choice)
        torch.testing.assert_close(spread(choice, gates, time), dense.detach() * ranking.top(k), rtol=0, atol=1e-11)
        (wanted,) = torch.autograd.grad(dense, leaves[0], spread(choice, upstream, time))
        if by_kernel:
            found = scores_gradient(scores, first, *choice, upstream, window)
        else:
            own = ChosenGates.apply(leaves[1], first, *choice, window)
            assert torch.equal(own.detach(), gates)
            (found,) = torch.autograd.grad(own, leaves[1], upstream)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


@WAYS
def test_a_threshold_that_equals_a_score_leaves_it_outside(by_kernel):
    """Of -0.9, -1.5 and -1.7 the largest alone is chosen and the threshold is -1.7, but for the rounding of a sum."""
    scores = torch.tensor([[-0.9, -1.5, -1.7]], requires_grad=True)
    first, last = candidate_ranges(3, 0, None, scores.device)
    choice = choose(scores, first, 1, 0, 3, by_kernel=by_kernel)
    assert choice.thresholds[0, 2].item() == pytest.approx(-1.7, abs=1e-15)
    upstream = torch.zeros(1, 3, 1)
    upstream[0, 2] = 1.0
    with torch.no_grad():
        found = scores_gradient(scores, first, *choice, upstream, 0)
    gates = Gates.apply(scores, Ranking(scores, first, last).thresholds(1), first, last)
    (dense,) = torch.autograd.grad(gates[0, 2, 0], scores)
    for gradient in (found, dense):
        torch.testing.assert_close(gradient, torch.tensor([[0.5, -0.5, 0.0]]), rtol=0, atol=1e-15)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_scores_that_are_no_numbers_are_the_largest_and_leave_lists_whole(value):
    scores = normal(1, 40, seed=2)
    scores[0, [3, 17]] = value
    first, _ = candidate_ranges(40, 2, None, scores.device)
    choice = choose(scores, first, 5, 2, 40, by_kernel=True)
    late = choice.chosen[0, 20:]
    assert bool(((late == 3).any(-1) & (late == 17).any(-1)).all()) and bool((late.diff(dim=1) > 0).all())


@WAYS
@pytest.mark.parametrize(("k", "window"), KNOBS, ids=str)
def test_every_prefix_gives_what_a_bisection_and_a_sort_of_it_alone_give(by_kernel, k, window):
    ids, scores = packed_ids(), normal(2, 40)
    scores[:, ::5] = scores[:, :1]  # equal ones too
    first, _ = candidate_ranges(40, window, ids, scores.device)
    choice = choose(scores, first, k, window, 40, by_kernel=by_kernel)
    gates, seen = (spread(choice, part, 40) for part in (gates_of(scores, choice), torch.ones(choice.chosen.shape)))
    for row in range(2):
        expected, chosen = naive(scores[row], k, window, ids[row])
        assert torch.equal(seen[row] > 0, chosen)
        torch.testing.assert_close(gates[row], expected * chosen, rtol=0, atol=1e-11)


@WAYS
def test_thousands_of_tokens_in_and_out_of_the_sums_leave_no_error(by_kernel, monkeypatch):
    """Scores far from zero, whose sums are a million times the threshold's precision."""
    monkeypatch.setattr(sparsek_choice, "PAIRS_AT_ONCE", 2**20)
    scores = 1e4 + normal(1, 3000, scale=1.0)
    first, last = candidate_ranges(3000, 4, None, scores.device)
    choice = choose(scores, first, 16, 4, 3000, by_kernel=by_kernel)
    for query in (20, 21, 700, 1999, 2999):
        ranking = Ranking(scores, first[:, query : query + 1], last[:, query : query + 1])
        found, expected = choice.thresholds[:, query], ranking.thresholds(16)[:, 0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    thresholds = choice.thresholds[0, 20:]
    assert bool((thresholds[1:] >= thresholds[:-1]).all()) or not by_kernel


@WAYS
def test_the_last_queries_alone_are_chosen_for_as_among_all(by_kernel):
    scores, first = normal(2, 50), torch.zeros(1, 50, dtype=torch.int64)
    whole = choose(scores, first, 6, 3, 50, by_kernel=by_kernel)
    for queries in (1, 7, 50):
        for ours, theirs in zip(choose(scores, first, 6, 3, queries, by_kernel=by_kernel), whole, strict=True):
            torch.testing.assert_close(ours, theirs[:, 50 - queries :], rtol=0, atol=1e-14)


def test_single_precision_chooses_the_same_and_its_thresholds_are_near():
    scores, first = normal(3, 400, scale=2.0).float(), torch.zeros(1, 400, dtype=torch.int64)
    found, expected = (choose(part, first, 16, 4, 400, by_kernel=True) for part in (scores, scores.double()))
    assert torch.equal(found.chosen, expected.chosen) and found.thresholds.dtype == torch.float32
    torch.testing.assert_close(found.thresholds.double(), expected.thresholds, rtol=0, atol=1e-6)


def layer_inputs(kv_heads, time=41):
    """q, k, v and scores, each with a gradient."""
    shapes = (3, 4, time, 5), (3, kv_heads, time, 5), (3, kv_heads, time, 5), (3, time)
    return [normal(*shape, seed=seed, scale=1.5).requires_grad_() for seed, shape in enumerate(shapes)]


@WAYS
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("k", "window"), [(3, 2), (5, 0), (2, 6), (60, 1), (1, 60), (7, 1)], ids=str)
@pytest.mark.parametrize("packed", [False, True], ids=["one document", "documents"])
def test_attention_over_the_choice_is_gated_attention_under_a_mask(by_kernel, gate, k, window, packed):
    time, query = 41, torch.arange(41)[:, None]
    ids = documents(time, seed=k) if packed else torch.zeros(3, time, dtype=torch.int64)
    near = (query.T <= query) & (query - query.T < window) & (ids[:, :, None] == ids[:, None])
    first, _ = candidate_ranges(time, window, ids if packed else None, ids.device)
    for kv_heads in (4, 2, 1):
        given = layer_inputs(kv_heads)
        gates, chosen = causal_sparsek(given[3], k, window, ids)
        soft = {"soft": gates, "hard": torch.ones(()), "straight_through": 1 + gates - gates.detach()}[gate]
        expected = gated(*given[:3], chosen | near, torch.where(chosen, soft, 1))
        if by_kernel:
            found = sparsek_by_kernel(*given, first, chosen=k, window=window, gate=gate)
        else:
            choice = choose(given[3], first, k, window, time, by_kernel=False)
            own = ChosenGates.apply(given[3], first, *choice, window)
            own = {"soft": own, "hard": None, "straight_through": 1 + own - own.detach()}[gate]
            found = gathered(*given[:3], lists_of(choice, first, window), own, window=window)
        results = []
        for y in (found, expected):
            gradients = torch.autograd.grad(y, given, normal(*y.shape, seed=8), allow_unused=True)
            results.append([y, *(torch.zeros(1) if part is None else part for part in gradients)])
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs.expand_as(ours), rtol=0, atol=1e-11)


@pytest.mark.slow
def test_with_soft_gates_the_gradient_is_the_numeric_one():
    ids = documents(12, seed=1, share=0.1)[:1]
    first, _ = candidate_ranges(12, 1, ids, ids.device)
    given = [part.detach()[:1, :, :12].requires_grad_() for part in layer_inputs(2)[:3]]
    given.append(normal(1, 12, seed=3, scale=1.0).requires_grad_())

    def attention(*parts):
        return sparsek_by_kernel(*parts, first, chosen=3, window=1, gate="soft")

    torch.autograd.gradcheck(attention, given, eps=1e-7, atol=1e-5)


def test_what_is_saved_is_what_was_given():
    """The scores of every token, and neither the choice nor the weights."""
    given, kept = layer_inputs(2), []
    first = torch.zeros(1, 41, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(lambda part: kept.append(part) or part, lambda part: part):
        sparsek_by_kernel(*given, first, chosen=8, window=4, gate="straight_through")
    assert sorted(part.data_ptr() for part in kept) == sorted(part.data_ptr() for part in (*given, first))


@pytest.mark.slow
def test_the_bits_do_not_depend_on_the_threads():
    given, threads, results = [part.detach().float().requires_grad_() for part in layer_inputs(2, 150)], [], []
    first, before = torch.zeros(1, 150, dtype=torch.int64), torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            y = sparsek_by_kernel(*given, first, chosen=9, window=4, gate="soft")
            results.append([y, *torch.autograd.grad(y, given, normal(*y.shape, seed=8).float())])
            threads.append(torch.get_num_threads())
    finally:
        torch.set_num_threads(before)
    assert threads == [1, 2, 3]
    for other in results[1:]:
        assert all(map(torch.equal, other, results[0]))


@pytest.mark.slow
def test_they_are_operations_that_pytorch_can_trace():
    scores, first = normal(3, 30), torch.zeros(1, 30, dtype=torch.int64)
    choice = choose(scores, first, 5, 2, 30, by_kernel=True)
    upstream = normal(3, 30, 5, seed=1)
    torch.library.opcheck(torch.ops.frontpage.sparsek_choice.default, (scores, first, 5, 2, 30))
    gradient = torch.ops.frontpage.sparsek_choice_backward.default
    torch.library.opcheck(gradient, (scores, first, *choice, upstream, 2))
