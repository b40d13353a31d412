"""Promises of the ProcrustesMonitor by itself: what it compares, when a layer has crystallised, what it refuses."""

import math

import pytest
import torch
from parallel_runs import data_of, module_of
from tiny import TINY, composed

from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.evaluation.representations.cka import linear_cka
from frontpage.evaluation.representations.procrustes import alignment, disparity
from frontpage.training.callbacks.procrustes import ProcrustesMonitor

WIDE = ("model=unet_gpt", "model.widths=[32,16,24,8]", "model.n_layer=4")


@pytest.fixture(scope="module")
def titles(tmp_path_factory):
    """titles(*overrides) gives the data of the tiny run, set up, and a net's module."""
    cache = tmp_path_factory.mktemp("cache")

    def made(*overrides):
        config = composed(*TINY, "data.num_titles=600", *overrides, f"paths.cache_dir={cache}")
        data = build(config.data, "data")
        data.setup()
        torch.manual_seed(0)
        return data, build(config.model, "model", vocab_size=data.vocab_size).eval()

    return made


@pytest.fixture(scope="module")
def parallel(tmp_path_factory):
    data = data_of(tmp_path_factory.mktemp("parallel"))
    torch.manual_seed(0)
    return data, module_of(data).eval()


def monitor_of(*modes, **settings):
    return ProcrustesMonitor("unused", modes=list(modes), **{"every": 2, "texts": 40} | settings)


@torch.no_grad()
def measured(monitor, data, module, step=2):
    monitor.check(data, module, updates=100)
    return monitor.measure(module, data, step)


@pytest.mark.parametrize("overrides", [(), ("model=deep_narrow",), ("model=modern", "model.n_layer=2"), WIDE])
def test_each_layer_is_compared_with_the_next_one(titles, overrides):
    data, module = titles(*overrides)
    monitor = monitor_of("layers", seed=3)
    rows = measured(monitor, data, module)
    last = len(module.net.blocks)
    assert [(row["layer"], row["other"]) for row in rows] == [(layer, layer + 1) for layer in range(last)]
    with torch.no_grad():
        vectors = monitor.vectors(module.net, data, monitor._probe, data.tokenizer)
    assert {len(one) for one in vectors.values()} == {40}
    for row in rows:
        x, y = vectors[row["layer"]], vectors[row["other"]]
        assert row["disparity"] == disparity(x, y) and row["cka"] == linear_cka(x, y)
        assert (row["shuffled"], row["gain"]) == alignment(x, y, seed=3)[1:]
        assert 0 <= row["disparity"] <= 1 and 0 <= row["cka"] <= 1


def test_settings_of_the_disparity_and_the_layers_are_those_asked_for(titles):
    data, module = titles(*WIDE)
    rows = measured(monitor_of("layers", layers=[4, 0, 2], scaling=False, reflections=False, shuffles=2), data, module)
    assert [(row["layer"], row["other"]) for row in rows] == [(0, 2), (2, 4)]
    assert any(row["disparity"] > 1 or row["shuffled"] > 1 for row in rows)  # without a scale up to 2


def test_drift_is_from_the_measurement_before(titles):
    data, module = titles()
    monitor = monitor_of("drift")
    assert measured(monitor, data, module, 2) == []
    before = dict(monitor._previous)
    with torch.no_grad():
        module.net.blocks[0].mlp.down.weight.add_(torch.randn_like(module.net.blocks[0].mlp.down.weight))
        embedding, block = monitor.measure(module, data, 4)
    assert embedding["disparity"] == pytest.approx(0, abs=1e-12) and embedding["gain"] == pytest.approx(1)
    assert block["disparity"] == pytest.approx(disparity(before[1], monitor._previous[1]), rel=1e-12)
    assert block["disparity"] > 1e-3


def test_a_layer_has_crystallised_after_enough_still_measurements_until_it_moves(titles):
    data, module = titles()
    monitor = monitor_of("drift", patience=3, tolerance=0.01)
    measured(monitor, data, module, 2)
    since = []
    with torch.no_grad():
        for step in range(4, 20, 2):
            if step == 14:
                module.net.blocks[0].mlp.down.weight.add_(torch.randn_like(module.net.blocks[0].mlp.down.weight))
            rows = monitor.measure(module, data, step)
            since.append([row["crystallised_at"] for row in rows])
    assert since == [[None] * 2] * 2 + [[8, 8]] * 3 + [[8, None]] * 2 + [[8, None]]
    found = dict(monitor.scalars(rows))
    assert found["drift/crystallised_at/0"] == 8 and found["drift/crystallised_at/1"] is None


def test_the_state_goes_on_and_drift_starts_anew_on_other_texts(titles):
    data, module = titles()
    first, second = monitor_of("drift"), monitor_of("drift")
    measured(first, data, module)
    first.measured_at = 2
    second.check(data, module, 100)
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert second.measured_at == 2 and len(second.measure(module, data, 4)) == 2
    forget_notices()
    other = monitor_of("drift", texts=30)
    other.check(data, module, 100)
    other.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert other.measure(module, data, 4) == [] and "drift starts anew" in notices()[-1]


@pytest.mark.slow
def test_translations_are_compared_unit_by_unit(parallel):
    data, module = parallel
    monitor = monitor_of("languages", texts=20)
    rows = measured(monitor, data, module)
    assert monitor.translations == ["aa", "bb"] and [row["layer"] for row in rows] == [0, 1, 2]
    side = data.sides["validation"]
    assert all(side.texts[0].index(one.text) == side.texts[1].index(other.text) for one, other in monitor._pairs)
    assert monitor.about() == {"texts": 0, "translations": ["aa", "bb"], "units": 20}
    same = monitor_of("languages", texts=20)
    same.check(data, module, 100)
    same._pairs = [(one, one) for one, _ in same._pairs]
    with torch.no_grad():
        rows = same.measure(module, data, 2)
    assert [row["disparity"] for row in rows] == pytest.approx([0, 0, 0], abs=1e-12)


@pytest.mark.slow
def test_the_probe_of_a_parallel_corpus_holds_units_of_the_held_out_books(parallel):
    data, module = parallel
    monitor = monitor_of("layers", texts=30)
    measured(monitor, data, module)
    held_out = {*data.sides["validation"].there}
    assert len(monitor._probe) == 30 and all(one.text in held_out and one.language for one in monitor._probe)


def test_what_has_no_value_is_none_and_said_once(titles):
    data, module = titles()
    monitor = monitor_of("layers", "drift")
    measured(monitor, data, module)
    with torch.no_grad():
        module.net.token_embedding.weight.fill_(math.nan)
        forget_notices()
        rows = [*monitor.measure(module, data, 4), *monitor.measure(module, data, 6)]
    assert {row["disparity"] for row in rows} == {None}
    assert len(notices()) == 1 and "callbacks.procrustes: not measured at update 4" in notices()[0]
    assert all(value is None for _, value in monitor.scalars(rows))


@pytest.mark.parametrize(
    ("settings", "pieces"),
    [
        ({"layers": [0, 2]}, ["callbacks.procrustes.layers=[0, 2]", "from 0", "to 1"]),
        ({"layers": [1]}, ["callbacks.procrustes.layers=[1]", "at least 2"]),
        ({"modes": ["languages"]}, ["callbacks.procrustes.modes", "data=parallel"]),
        (
            {"modes": ["reference"], "reference": "nowhere"},
            ["callbacks.procrustes.reference=nowhere", "nor a checkpoint"],
        ),
    ],
    ids=lambda value: str(value),
)
def test_what_this_run_cannot_measure_is_refused(titles, settings, pieces):
    data, module = titles()
    with pytest.raises(UserError) as error:
        ProcrustesMonitor("unused", **{"modes": ["layers"]} | settings).check(data, module, 100)
    assert "\n" not in str(error.value) and all(piece in str(error.value) for piece in pieces), str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"modes": []}, "modes="),
        ({"modes": ["layer"]}, "one or more of layers drift languages reference"),
        ({"modes": ["reference"]}, "reference=None"),
        ({"modes": ["layers"], "reference": "x"}, "reference=x"),
        ({"modes": ["languages"], "translations": ["aa"]}, "translations="),
        ({"modes": ["layers"], "pooling": "first"}, "one of mean last"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        ProcrustesMonitor("unused", **settings)


@pytest.mark.parametrize("translations", [["aa", "aa"], ["aa", "cc"]])
def test_translations_must_be_two_of_the_corpus(parallel, translations):
    with pytest.raises(UserError, match="two of aa bb, or null"):
        monitor_of("languages", translations=translations).check(*parallel, 100)


def test_a_run_that_is_too_short_and_a_set_that_is_too_small_are_told(titles):
    data, module = titles()
    forget_notices()
    monitor_of("layers", every=50, texts=10_000).check(data, module, 49)
    assert (
        "every=50: the run has 49 updates" in notices()[0] and "texts=10000: the validation set has 60" in notices()[1]
    )
    forget_notices()
    monitor_of("layers", every=50).check(data, module, 50)
    assert notices() == []
