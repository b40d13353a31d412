"""The filters of sampling: each against a plain loop, and against Hugging Face's where that is installed."""

import itertools
import math

import pytest
import torch

from frontpage.models.sampling import (
    RANGES,
    Sampling,
    draw,
    fits,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
)

ROWS, VOCABULARY = 6, 40


def rows(seed=0, spread=3.0):
    """Scores (N, V) as a model gives them, the last row nearly flat, and some tokens forbidden."""
    random = torch.Generator().manual_seed(seed)
    scores = spread * torch.randn(ROWS, VOCABULARY, generator=random, dtype=torch.float64)
    scores[-1] *= 1e-3
    scores[:, :2] = -torch.inf
    return scores


def kept(scores):
    return [set(row.isfinite().nonzero().flatten().tolist()) for row in scores]


def shares(row):
    weights = [math.exp(score) for score in row.tolist()]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("k", [1, 2, 7, VOCABULARY - 2, VOCABULARY, 1000])
def test_top_k_keeps_the_k_highest(k):
    scores = rows()
    for row, found in zip(scores, kept(keep_top_k(scores, k)), strict=True):
        ranked = sorted(range(2, VOCABULARY), key=lambda token: -row[token])
        assert found == set(ranked[:k])


def test_top_k_keeps_what_equals_the_last():
    assert kept(keep_top_k(torch.tensor([[1.0, 2.0, 2.0, 0.0]]), 1)) == [{1, 2}]


@pytest.mark.parametrize("p", [1e-9, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("spread", [0.1, 3.0, 20.0])
def test_top_p_keeps_the_smallest_set_whose_mass_reaches_p(p, spread):
    scores = rows(1, spread)
    for row, found in zip(scores, kept(keep_top_p(scores, p)), strict=True):
        probabilities = shares(row)
        mass = sum(probabilities[token] for token in found)
        least = min(probabilities[token] for token in found)
        assert mass >= p - 1e-12
        assert mass - least < p  # without its least likely token it would not reach p
        outside = [probabilities[token] for token in range(2, VOCABULARY) if token not in found]
        assert max(outside, default=0) <= least


def test_of_equal_tokens_top_p_keeps_as_few_as_reach_it():
    assert kept(keep_top_p(torch.zeros(1, 4), 0.5)) == [{0, 1}]
    assert kept(keep_top_p(torch.zeros(1, 4), 0.51)) == [{0, 1, 2}]


def test_a_top_p_of_1_leaves_everything():
    scores = rows(1, 200.0)  # most of the probabilities vanish beside 1
    assert torch.equal(keep_top_p(scores, 1.0), scores)


@pytest.mark.parametrize("p", [0.0, 0.01, 0.2, 0.99])
def test_min_p_is_relative_to_the_likeliest(p):
    scores = rows(2)
    for row, found in zip(scores, kept(keep_min_p(scores, p)), strict=True):
        probabilities = shares(row)
        assert found == {t for t in range(2, VOCABULARY) if probabilities[t] >= p * max(probabilities)}
    assert all(len(tokens) >= 1 for tokens in kept(keep_min_p(scores, 0.999999)))


def test_the_penalty_makes_seen_tokens_less_likely_whatever_their_sign():
    scores = torch.tensor([[2.0, -2.0, 2.0, -2.0, -torch.inf]])
    seen = torch.tensor([[True, True, False, False, True]])
    assert penalise_repetition(scores, seen, 4.0).tolist() == [[0.5, -8.0, 2.0, -2.0, -math.inf]]
    assert torch.equal(penalise_repetition(scores, seen, 1.0), scores)


SETTINGS = [
    dict(zip(("temperature", "top_k", "top_p", "min_p", "repetition_penalty"), values, strict=True))
    for values in itertools.product((0.5, 1.7), (None, 9), (None, 0.8), (None, 0.2), (1.0, 1.3))
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_each_filter_sees_what_the_one_before_has_left(settings):
    """Penalty, temperature, top-k, top-p, min-p, in a plain loop."""
    scores, seen = rows(3), torch.rand(ROWS, VOCABULARY, generator=torch.Generator().manual_seed(9)) < 0.3
    found = Sampling(**settings).probabilities(scores, seen)
    for row, marked, given in zip(scores.tolist(), seen.tolist(), found.tolist(), strict=True):
        penalty = settings["repetition_penalty"]
        row = [(s * penalty if s < 0 else s / penalty) if m else s for s, m in zip(row, marked, strict=True)]
        weights = {token: math.exp(score / settings["temperature"]) for token, score in enumerate(row)}
        ranked = sorted(weights, key=lambda token: -weights[token])[: settings["top_k"]]
        whole, mass, nucleus = sum(weights[token] for token in ranked), 0.0, []
        for token in ranked:
            if settings["top_p"] is None or mass < settings["top_p"]:
                nucleus.append(token)
            mass += weights[token] / whole
        least = (settings["min_p"] or 0) * weights[nucleus[0]]
        left = {token: weights[token] for token in nucleus if weights[token] >= least}
        expected = [left.get(token, 0.0) / sum(left.values()) for token in range(VOCABULARY)]
        assert given == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_filters_are_those_of_hugging_face(settings):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (the extra of the export)")
    scores = rows(4)
    history = torch.randint(2, VOCABULARY, (ROWS, 11), generator=torch.Generator().manual_seed(5))
    seen = torch.zeros(ROWS, VOCABULARY, dtype=torch.bool).scatter(1, history, True)
    asked = [
        (transformers.RepetitionPenaltyLogitsProcessor, settings["repetition_penalty"]),
        (transformers.TemperatureLogitsWarper, settings["temperature"]),
        (transformers.TopKLogitsWarper, settings["top_k"]),
        (transformers.TopPLogitsWarper, settings["top_p"]),
        (transformers.MinPLogitsWarper, settings["min_p"]),
    ]
    theirs = scores.clone()
    for processor, value in asked:
        if value is not None:
            theirs = processor(value)(history, theirs)
    ours = Sampling(**settings).probabilities(scores, seen)
    torch.testing.assert_close(ours, theirs.softmax(1), rtol=0, atol=1e-12)


def test_temperature_zero_takes_the_likeliest_of_what_the_penalty_leaves():
    scores, seen = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[True, False, False]])
    assert Sampling(temperature=0).probabilities(scores, seen).tolist() == [[1, 0, 0]]
    assert Sampling(temperature=0, repetition_penalty=2.0).probabilities(scores, seen).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 1e9, 1e300])
def test_extreme_temperatures_give_probabilities(temperature):
    found = Sampling(temperature=temperature, top_p=0.9, min_p=0.01).probabilities(rows(6), torch.zeros(1).bool())
    assert found.isfinite().all()
    assert found.sum(dim=1) == pytest.approx([1.0] * ROWS)


def test_a_draw_is_the_inverse_of_the_summed_probabilities():
    probabilities = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25, 0.0]], dtype=torch.float64)
    expected = {0.0: 1, 0.2499: 1, 0.25: 3, 0.7499: 3, 0.75: 4, 1 - 2**-53: 4}
    for uniform, token in expected.items():
        assert draw(probabilities, torch.tensor([uniform], dtype=torch.float64)).tolist() == [token]


def test_a_draw_never_takes_what_has_no_probability():
    random = torch.Generator().manual_seed(0)
    probabilities = torch.rand(5000, 9, generator=random, dtype=torch.float64) ** 8
    probabilities[torch.rand(5000, 9, generator=random) < 0.6] = 0
    probabilities[:, 4] += 1e-12
    edges = torch.where(torch.arange(5000) % 3 == 0, 1 - 2**-53, torch.rand(5000, generator=random).double())
    chosen = draw(probabilities / probabilities.sum(1, keepdim=True), torch.where(edges < 0.1, 0.0, edges))
    assert (probabilities.gather(1, chosen[:, None]) > 0).all()


REFUSED = {
    "temperature": [-1, math.nan, math.inf, None, True],
    "top_k": [0, -3, 2.0, "5"],
    "top_p": [0, -0.1, 1.5, math.nan],
    "min_p": [-0.1, 1, math.nan],
    "repetition_penalty": [0, -1, math.inf, None],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in REFUSED for value in REFUSED[name]])
def test_a_setting_without_meaning_is_refused_by_name(name, value):
    assert not fits(name, value)
    with pytest.raises(ValueError, match=f"^{name}=.*: {RANGES[name].allowed}"):
        Sampling(**{name: value})


def test_every_setting_has_a_range():
    assert {*RANGES} == {*REFUSED} == {*Sampling.__dataclass_fields__}
