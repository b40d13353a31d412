"""Promises of the ConceptClusteringMonitor by itself: its classes, its numbers, what it refuses."""

import math

import pytest
import torch
from parallel_runs import data_of, module_of
from tiny import TINY, composed

from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.evaluation.representations.silhouettes import silhouettes
from frontpage.training.callbacks.concept_clustering import MEASURES, ConceptClusteringMonitor


@pytest.fixture(scope="module")
def titles(tmp_path_factory):
    """The data of the tiny run with more titles, set up, and a net's module."""
    config = composed(*TINY, "data.num_titles=4000", f"paths.cache_dir={tmp_path_factory.mktemp('cache')}")
    data = build(config.data, "data")
    data.setup()
    torch.manual_seed(0)
    return data, build(config.model, "model", vocab_size=data.vocab_size).eval()


@pytest.fixture(scope="module")
def parallel(tmp_path_factory):
    data = data_of(tmp_path_factory.mktemp("parallel"), "data.val_frac=0.4")
    torch.manual_seed(0)
    return data, module_of(data).eval()


@torch.no_grad()
def measured(data, module, **settings):
    """(the monitor, its rows)."""
    monitor = ConceptClusteringMonitor("unused", **{"every": 2, "texts": 60} | settings)
    monitor.check(data, module, updates=100)
    return monitor, monitor.measure(module, data, 2)


@pytest.mark.slow
def test_titles_are_told_apart_by_their_words(titles):
    data, module = titles
    monitor, rows = measured(data, module, least=5, seed=2)
    classes = monitor.about()["classes"]
    assert len(classes) >= 3 and {*classes} <= {"ai", "programming", "security", "space"}
    assert monitor._classes.labels.bincount().unique().numel() == 1  # as many of each
    assert {one.text for one in monitor._classes.texts} <= {*data.validation_texts()}
    with torch.no_grad():
        vectors = monitor.vectors(module.net, data, monitor._classes.texts, data.tokenizer)
    for row in rows:
        found = silhouettes(vectors[row["layer"]], monitor._classes.labels, seed=2)
        assert row["silhouette"] == pytest.approx(found.mean, abs=1e-12)
        assert row["silhouette_permuted"] == pytest.approx(found.permuted, abs=1e-12)
        assert [*row["silhouettes"]] == classes
        assert 0 <= row["nmi"] <= 1 and 1 / len(classes) <= row["purity"] <= 1 and row["ari"] <= 1
        assert 1 <= row["effective_rank"] <= 32 and -1 <= row["anisotropy"] <= 1 and 0 <= row["linear_probe"] <= 1


@pytest.mark.slow
def test_every_number_is_logged_and_those_that_tell_most_for_each_layer(titles):
    monitor, rows = measured(*titles, least=5)
    found = dict(monitor.scalars(rows))
    assert {*MEASURES} <= {*found} and found["nmi"] == pytest.approx((rows[0]["nmi"] + rows[1]["nmi"]) / 2)
    assert found["silhouette/1"] == rows[1]["silhouette"] and found["silhouette_z/0"] == rows[0]["silhouette_z"]


@pytest.mark.slow
def test_languages_that_share_no_word_are_found_in_the_embedding(parallel):
    monitor, rows = measured(*parallel, labels="language", texts=80)
    assert monitor._classes.names == ["aa", "bb"] and len(monitor._classes.texts) == 80
    assert rows[0]["silhouette_z"] > 10 and rows[0]["linear_probe"] > 0.9


@pytest.mark.slow
def test_books_are_classes(parallel):
    data, module = parallel
    monitor, rows = measured(data, module, labels="book", texts=60)
    assert {*monitor._classes.names} == {*data.split.validation_books}
    assert len(monitor._classes.names) >= 2 and len(rows) == 3


@pytest.mark.slow
def test_own_concepts_and_layers(titles):
    concepts = {"show": ["show hn"], "ask": ["ask hn"]}
    monitor, rows = measured(*titles, concepts=concepts, layers=[1], texts=30)
    assert [row["layer"] for row in rows] == [1] and [*rows[0]["silhouettes"]] == ["show", "ask"]
    assert all(one.text.casefold().startswith(("show", "ask")) for one in monitor._classes.texts)


def test_small_classes_are_left_out_and_said(titles):
    forget_notices()
    concepts = {"show": ["show hn"], "ask": ["ask hn"], "none": ["xyzzy"]}
    monitor, _ = measured(*titles, concepts=concepts)
    assert monitor._classes.names == ["show", "ask"] and "none, which are left out" in notices()[-1]


def test_what_has_no_value_is_nan_and_said_once(titles):
    data, module = titles
    monitor, _ = measured(data, module, least=5)
    kept = module.net.token_embedding.weight.clone()
    forget_notices()
    with torch.no_grad():
        module.net.token_embedding.weight.fill_(math.nan)
        rows = [*monitor.measure(module, data, 4), *monitor.measure(module, data, 6)]
        module.net.token_embedding.weight.copy_(kept)
    assert all(math.isnan(row["silhouette"]) and math.isnan(row["nmi"]) for row in rows)
    assert len(notices()) == 1 and "callbacks.concept_clustering: not measured at update 4" in notices()[0]


@pytest.mark.parametrize(
    ("settings", "pieces"),
    [
        ({"labels": "book"}, ["callbacks.concept_clustering.labels=book", "concepts"]),
        ({"concepts": {"a": ["xyzzy"], "b": ["ask hn"]}}, ["callbacks.concept_clustering.concepts=", "a 0, b "]),
    ],
)
def test_what_this_run_cannot_measure_is_refused(titles, settings, pieces):
    with pytest.raises(UserError) as error:
        measured(*titles, **settings)
    assert "\n" not in str(error.value) and all(piece in str(error.value) for piece in pieces), str(error.value)


def test_a_corpus_without_the_usual_words_is_told_and_not_measured(parallel):
    forget_notices()
    data, module = parallel
    monitor = ConceptClusteringMonitor("unused", every=2, texts=60)
    monitor.check(data, module, 10)
    assert monitor.idle and not monitor._is_due(2)
    assert "callbacks.concept_clustering.labels=concepts: no two classes have 10 texts" in notices()[-1]


def test_classes_that_are_too_small_are_told_and_not_measured(titles):
    data, module = titles
    monitor = ConceptClusteringMonitor("unused", every=2, texts=60, labels="last_word", least=10_000)
    monitor.check(data, module, 10)
    assert monitor.idle and "labels=last_word: no two classes have 10000 texts" in notices()[-1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"labels": "genre"}, "labels=genre"),
        ({"several": "both"}, "several=both"),
        ({"concepts": {"a": []}}, "concepts"),
    ],
)
def test_settings_of_no_meaning_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        ConceptClusteringMonitor("unused", every=2, texts=60, **settings)
