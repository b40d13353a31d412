"""The honest metrics have the closed forms of their definitions, and refuse what was not scored exactly once."""

import math

import numpy as np
import pytest
import torch

from frontpage.data.text_sizes import TextSizes
from frontpage.evaluation.metrics import CoverageError, TitleScores, honest_metrics

NAMES = {"loss", "perplexity", "nats_per_char", "nats_per_char_se", "bits_per_byte", "coverage"}
SIZES = TextSizes.of(["abc", "東京", "naïve", ""], [4, 3, 6, 1])
NLL = torch.tensor([8.0, 9.0, 12.0, 1.0], dtype=torch.float64)
SCORED = torch.tensor([4, 3, 6, 1])


def test_sizes_are_characters_bytes_and_tokens_with_the_titles_end():
    assert SIZES.characters.tolist() == [8, 7, 10, 5]
    assert SIZES.bytes.tolist() == [4, 7, 7, 1]
    assert SIZES.tokens.tolist() == [4, 3, 6, 1]


def test_the_metrics_of_four_titles_are_those_computed_by_hand():
    metrics = honest_metrics(NLL, SCORED, SIZES)
    assert set(metrics) == {f"val/{name}" for name in NAMES}
    assert metrics["val/loss"] == pytest.approx(30 / 14, rel=1e-15)
    assert metrics["val/perplexity"] == pytest.approx(math.exp(30 / 14), rel=1e-15)
    assert metrics["val/nats_per_char"] == 30 / 30
    assert metrics["val/bits_per_byte"] == pytest.approx(30 / math.log(2) / 19, rel=1e-15)
    assert metrics["val/coverage"] == 1
    # residuals 8 - 8, 9 - 7, 12 - 10, 1 - 5
    assert metrics["val/nats_per_char_se"] == pytest.approx(math.sqrt(4 / 3 * (0 + 4 + 4 + 16)) / 30, rel=1e-15)


def many_titles(count=400):
    random = np.random.default_rng(0)
    characters = random.integers(10, 90, size=count).astype(float)
    nll = characters * random.gamma(9, 0.1, size=count) + random.normal(0, 5, size=count) + 10
    sizes = TextSizes(*(torch.tensor(values) for values in (characters, characters, np.full(count, 7.0))))
    return nll, characters, honest_metrics(torch.tensor(nll), torch.full((count,), 7), sizes)["val/nats_per_char_se"]


def test_the_standard_error_is_that_of_the_delta_method():
    """Var(X / Y) = (var X - 2 R cov(X, Y) + R^2 var Y) / (n mean(Y)^2), R the ratio of the means."""
    nll, characters, found = many_titles()
    (var_x, cov), (_, var_y) = np.cov(nll, characters)
    ratio = nll.mean() / characters.mean()
    variance = (var_x - 2 * ratio * cov + ratio**2 * var_y) / len(nll) / characters.mean() ** 2
    assert found == pytest.approx(math.sqrt(variance), rel=1e-12)


def test_the_standard_error_is_that_of_a_bootstrap_over_titles():
    nll, characters, found = many_titles()
    drawn = np.random.default_rng(1).integers(0, len(nll), size=(4000, len(nll)))
    replicates = nll[drawn].sum(1) / characters[drawn].sum(1)
    assert found == pytest.approx(replicates.std(), rel=0.05)


@pytest.mark.parametrize(
    "scored", [[4, 3, 6, 2], [4, 3, 12, 1], [4, 3, 0, 1], [3, 3, 6, 1], [3, 4, 6, 1], [0, 0, 0, 0]]
)
def test_a_title_scored_twice_or_partly_or_not_is_an_error_even_where_the_totals_agree(scored):
    with pytest.raises(CoverageError, match="not scored exactly once"):
        honest_metrics(NLL, torch.tensor(scored), SIZES)


def test_partial_leaves_out_of_every_sum_but_coverage_what_was_not_scored_whole():
    metrics = honest_metrics(NLL, torch.tensor([4, 3, 5, 2]), SIZES, partial=True)
    alone = TextSizes(SIZES.characters[:2], SIZES.bytes[:2], SIZES.tokens[:2])
    expected = honest_metrics(NLL[:2], SCORED[:2], alone)
    assert metrics.pop("val/coverage") == 14 / 14  # tokens scored over tokens there, wherever they lie
    assert expected.pop("val/coverage") == 1
    assert metrics == expected
    assert honest_metrics(NLL, torch.tensor([4, 3, 0, 0]), SIZES, partial=True)["val/coverage"] == 7 / 14
    with pytest.raises(CoverageError, match="no title"):
        honest_metrics(NLL, torch.tensor([3, 2, 5, 0]), SIZES, partial=True)


def test_of_one_title_only_the_standard_error_is_unknown():
    one = TextSizes.of(["abc"], [4])
    metrics = honest_metrics(torch.tensor([8.0]), torch.tensor([4]), one)
    assert math.isnan(metrics.pop("val/nats_per_char_se"))
    assert metrics == {
        "val/loss": 2.0,
        "val/perplexity": math.exp(2),
        "val/nats_per_char": 1.0,
        "val/bits_per_byte": pytest.approx(2 / math.log(2)),
        "val/coverage": 1.0,
    }


def test_a_hopeless_model_has_a_finite_perplexity():
    metrics = honest_metrics(torch.tensor([1e6]), torch.tensor([4]), TextSizes.of(["abc"], [4]))
    assert math.isfinite(metrics["val/perplexity"]) and metrics["val/loss"] == 250_000


def test_the_prefix_names_the_metrics():
    assert set(honest_metrics(NLL, SCORED, SIZES, prefix="test/")) == {f"test/{name}" for name in NAMES}


def test_scores_are_summed_by_title_in_whatever_batches_they_come():
    random = np.random.default_rng(2)
    titles, nll = random.integers(0, 5, size=300), random.random(300) * 8
    expected = [nll[titles == title].sum() for title in range(5)]
    for size in (1, 7, 300):
        scores = TitleScores(5)
        for start in range(0, 300, size):
            part = slice(start, start + size)
            scores.update(torch.tensor(nll[part]), torch.tensor(titles[part]))
        sums, counts = scores.compute()
        assert sums.dtype == torch.float64
        assert sums.tolist() == pytest.approx(expected, rel=1e-6)
        assert counts.tolist() == np.bincount(titles, minlength=5).tolist()


def test_the_scores_of_several_processes_are_added():
    scores = TitleScores(2)
    parts = {"nll": torch.tensor([[1.5, 2.0], [0.0, 4.0]]), "tokens": torch.tensor([[3, 1], [0, 2]])}
    summed = {name: reduce(parts[name]).tolist() for name, reduce in scores._reductions.items()}
    assert summed == {"nll": [1.5, 6.0], "tokens": [3, 3]}


def test_a_title_never_scored_counts_nothing():
    scores = TitleScores(3)
    scores.update(torch.tensor([1.5]), torch.tensor([2]))
    sums, counts = scores.compute()
    assert sums.tolist() == [0, 0, 1.5] and counts.tolist() == [0, 0, 1]


def test_a_set_of_one_title_can_be_scored():
    scores = TitleScores(1)
    for nll in (1.5, 2.5):
        scores.update(torch.tensor([nll]), torch.tensor([0]))
    assert honest_metrics(*scores.compute(), TextSizes.of(["abc"], [2]))["val/loss"] == 2.0
