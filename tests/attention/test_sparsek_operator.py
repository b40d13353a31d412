"""The SparseK operator against the paper's Figure 1, a bisection and a sort of each prefix, and numeric gradients."""

import math

import pytest
import torch
from sparsek_oracles import FIGURE, KNOBS, naive, normal, packed_ids

from frontpage.attention.kernels.sparsek_operator import Ranking, candidate_ranges, causal_sparsek, sparsek

# Prefix of the figure's scores: the threshold, the gates, and the chosen tokens counted from 1.
PREFIXES = {
    3: (-math.inf, [1, 1, 1], {1, 2, 3}),
    4: (None, [1, 0, 1, 1], {1, 3, 4}),
    5: (-0.1, [1, 0, 0.3, 1, 0.7], {1, 4, 5}),
    6: (0.3, [1, 0, 0, 0.7, 0.3, 1], {1, 4, 6}),
    7: (0.3, [1, 0, 0, 0.7, 0.3, 1, 0], {1, 4, 6}),
    8: (0.8, [0.8, 0, 0, 0.2, 0, 1, 0, 1], {1, 6, 8}),
    9: (1.5, [0.1, 0, 0, 0, 0, 1, 0, 1, 0.9], {6, 8, 9}),
}


@pytest.fixture(autouse=True)
def exact():
    """float64 everywhere."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("length", PREFIXES)
def test_a_prefix_of_figure_1_has_the_figures_threshold_gates_and_choice(length):
    threshold, expected, places = PREFIXES[length]
    scores = torch.tensor([FIGURE])
    gates, chosen = causal_sparsek(scores, 3)
    row = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(gates[0, length - 1, :length], row, rtol=0, atol=1e-12)
    torch.testing.assert_close(sparsek(scores[0, :length], 3), row, rtol=0, atol=1e-12)
    assert set((chosen[0, length - 1].nonzero().flatten() + 1).tolist()) == places
    found = float(Ranking(scores, *candidate_ranges(9, 0, None, scores.device)).thresholds(3)[0, length - 1])
    assert -2 <= found <= -0.8 if threshold is None else found == pytest.approx(threshold, abs=1e-12)


def test_the_gradient_at_five_scores_of_figure_1_is_the_papers():
    scores = torch.tensor(FIGURE[:5], requires_grad=True)
    upstream = torch.tensor([0.3, 5.0, -1.0, 2.0, 0.5])
    (gradient,) = torch.autograd.grad(sparsek(scores, 3), scores, upstream)
    torch.testing.assert_close(gradient, torch.tensor([0, 0, -0.75, 0, 0.75]), rtol=0, atol=1e-15)


def test_a_step_of_one_after_the_kth_score_makes_it_a_hard_choice_without_gradient():
    scores = torch.tensor([5, 0, 3.5, 1.2, 2.4], requires_grad=True)
    gates = sparsek(scores, 2)
    assert gates.tolist() == [1, 0, 1, 0, 0]
    assert torch.autograd.grad(gates, scores, normal(5))[0].tolist() == [0] * 5
    twins = (normal(100, 1) + torch.tensor([0.0, 0.0, 0.0, -4.0, -5.0])).requires_grad_()
    gates = sparsek(twins, 3)
    assert torch.equal(gates, torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]).expand(100, 5))
    assert not torch.autograd.grad(gates, twins, normal(100, 5))[0].any()


def test_equal_scores_share_the_gates_and_the_newer_are_chosen():
    gates, chosen = causal_sparsek(torch.zeros(1, 5), 2)
    torch.testing.assert_close(gates[0, -1], torch.full((5,), 0.4), rtol=0, atol=1e-15)
    assert chosen[0].int().sum(1).tolist() == [1, 2, 2, 2, 2]
    assert chosen[0, -1].tolist() == [False, False, False, True, True]


def test_documents_are_counted_apart():
    ids = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    gates, chosen = causal_sparsek(torch.tensor([[2, 1, 0.5, 0.1, 0.9, 0.2, 0.4]]), 2, document_ids=ids)
    torch.testing.assert_close(gates[0, -1], torch.tensor([0, 0, 0, 0.2, 1, 0.3, 0.5]), rtol=0, atol=1e-12)
    assert chosen[0, -1].nonzero().flatten().tolist() == [4, 6]


@pytest.mark.parametrize(("k", "window"), KNOBS, ids=str)
@pytest.mark.parametrize("documents", [False, True], ids=["one document", "documents"])
@pytest.mark.parametrize("spread", [0.05, 2.0, 8.0])
def test_every_prefix_gives_what_a_bisection_and_a_sort_of_it_alone_give(k, window, documents, spread):
    ids = packed_ids() if documents else None
    scores = normal(2, 40, scale=spread)
    scores[:, ::5] = scores[:, :1]  # equal ones too
    gates, chosen = causal_sparsek(scores, k, window, ids)
    for row in range(2):
        expected = naive(scores[row], k, window, ids[row] if documents else None)
        torch.testing.assert_close(gates[row], expected[0], rtol=0, atol=1e-12)
        assert torch.equal(chosen[row], expected[1])


@pytest.mark.parametrize("k", [1, 3, 8])
def test_what_the_operator_promises_of_every_prefix(k):
    scores = normal(4, 64)
    gates, chosen = causal_sparsek(scores, k)
    count = torch.arange(1, 65).clamp(max=k)
    assert float((gates.sum(-1) - count).abs().max()) < 1e-13
    assert torch.equal(chosen.sum(-1), count.expand(4, -1))
    assert float(gates.min()) == 0 and float(gates.max()) == 1
    thresholds = Ranking(scores, *candidate_ranges(64, 0, None, scores.device)).thresholds(k)
    assert bool((thresholds[:, 1:] >= thresholds[:, :-1] - 1e-14).all())
    kept = chosen[:, 1:] & ~chosen[:, :-1]  # what a token sees and the one before did not: at most itself
    assert not (kept & ~torch.eye(64, dtype=torch.bool)[1:]).any()
    assert not (chosen & (gates == 0)).any()  # k tokens of gate 1, or a score above the threshold
    shifted, same = causal_sparsek(scores + 3, k)
    torch.testing.assert_close(shifted, gates, rtol=0, atol=1e-13)
    assert torch.equal(same, chosen)


def test_shifting_all_scores_has_no_gradient():
    shift = torch.zeros((), requires_grad=True)
    gates, _ = causal_sparsek(normal(2, 30) + shift, 4)
    (gradient,) = torch.autograd.grad((gates * normal(2, 30, 30, seed=4)).sum(), shift)
    assert abs(float(gradient)) < 1e-12


@pytest.mark.parametrize(("k", "window"), [(3, 0), (1, 1), (4, 3)], ids=str)
@pytest.mark.parametrize("documents", [False, True], ids=["one document", "documents"])
def test_the_gates_have_their_numeric_gradient(k, window, documents):
    ids = packed_ids()[:, :14] if documents else None
    scores = normal(2, 14, scale=1.0).requires_grad_()
    torch.autograd.gradcheck(lambda s: causal_sparsek(s, k, window, ids)[0], scores, eps=1e-7, atol=1e-5)


def test_the_gradient_is_the_closed_form():
    """Each query's upstream, less its mean over the gates between 0 and 1, on those alone: nothing goes elsewhere."""
    scores, upstream = normal(1, 25).requires_grad_(), normal(1, 25, 25, seed=5)
    gates, _ = causal_sparsek(scores, 4)
    (gradient,) = torch.autograd.grad(gates, scores, upstream)
    expected = torch.zeros(25)
    gates = gates.detach()
    for query in range(25):
        between = [j for j in range(query + 1) if 0 < float(gates[0, query, j]) < 1]
        for token in between:
            mean = sum(float(upstream[0, query, j]) for j in between) / len(between)
            expected[token] += upstream[0, query, token] - mean
    torch.testing.assert_close(gradient[0], expected, rtol=0, atol=1e-13)


def test_single_precision_is_near():
    scores = normal(4, 200)
    gates, chosen = causal_sparsek(scores.float(), 16, 4)
    expected, same = causal_sparsek(scores.float().double(), 16, 4)
    assert gates.dtype == torch.float32 and torch.equal(chosen, same)
    torch.testing.assert_close(gates.double(), expected, rtol=0, atol=2e-6)
