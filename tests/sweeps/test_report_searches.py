"""Promises of the first report's searches: what it tried can be drawn here, and every pattern that is drawn can be."""

import itertools

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution
from tiny import CONFIGS

from frontpage.attention.fixed import FixedAttention
from frontpage.sweeps.space import SearchSpace, read_space

OLDER = [[512] * 6, [512, 256, 256, 128, 128, 256], [512, 384, 256, 256, 384, 512], [256, 256, 128, 128, 256, 256]]
NEWER = [[512, 384, 256, 256, 384, 512], [256, 192, 128, 128, 192, 256], [512, 256, 128, 128, 256, 512]]
# The values of the report's sweep files, by our keys, without its patterns: none can exist (docs/migration.md).
TRIED = {
    "batch_size": {"data.batch_size": [32, 64, 128, 256]},
    "gpt": {
        "data.batch_size": [64, 128, 256],
        "data.block_size": [256, 512],
        "optimizer": ["sgd", "adamw", "adagrad", "adam"],
        "optimizer.lr": [0.005, 0.007, 0.01, 0.012, 0.017, 0.02],
        "optimizer.weight_decay": [0.0, 0.01, 0.1, 0.15, 0.3, 0.5],
        "model.n_layer": [6, 8, 10, 12],
        "model.d_model": [128, 256, 512, 1024],
        "model.dropout": [0.1, 0.2, 0.3, 0.4],
        "model.init": ["xavier", "normal", "kaiming", "uniform"],
    },
    "unet": {
        "data.batch_size": [64, 128, 256],
        "model.widths": [*OLDER, *NEWER],
        "optimizer": ["sgd", "adamw", "adagrad"],
        "optimizer.lr": [0.005, 0.007, 0.01, 0.012, 0.015],
        "optimizer.weight_decay": [0.0, 0.01, 0.1, 0.2, 0.5, 0.7],
        "model.dropout": [0.1, 0.2, 0.3, 0.5],
    },
    "sparse": {"model.n_head": [4, 8, 16], "model.attention.d_inner": [64, 128]},
    "sparsek": {
        "model.n_head": [8, 16],
        "model.attention.epsilon": [1e-6, 5e-6, 7e-6],
        "model.attention.k": [32, 64],
        "model.d_model": [128, 256],
    },
}


def space_of(search: str) -> SearchSpace:
    return read_space(OmegaConf.load(CONFIGS / "hparams_search" / f"{search}.yaml").hydra.sweeper.params, [])


def choices(search: str, key: str) -> list:
    """The choices of a key as a run reads them: the study keeps lists and mappings as texts."""
    parser = OverridesParser.create()
    return [parser.parse_override(f"x={one}").value() for one in space_of(search).distributions[key].choices]


@pytest.mark.parametrize(("search", "key"), [(search, key) for search, keys in TRIED.items() for key in keys])
def test_what_the_report_tried_can_be_drawn(search, key):
    distribution = space_of(search).distributions[key]
    for value in TRIED[search][key]:
        if isinstance(distribution, CategoricalDistribution):
            assert value in choices(search, key)
        else:
            assert distribution.low <= value <= distribution.high


def test_both_lists_of_widths_are_there_and_each_once():
    widths = choices("unet", "model.widths")
    assert len(widths) == len({tuple(one) for one in [*OLDER, *NEWER]}) == 6
    assert all(width % 8 == 0 for one in widths for width in one), "8 heads of experiment=unet_gpt"


@pytest.mark.parametrize("search", ["sparse", "gpt_sparse"])
def test_every_point_of_a_search_over_patterns_is_an_attention(search):
    space, inner = space_of(search).distributions, [64]  # that of experiment=sparse_gpt
    inner = space["model.attention.d_inner"].choices if "model.attention.d_inner" in space else inner
    patterns, heads = choices(search, "model.attention"), space["model.n_head"].choices
    for pattern, n_head, d_inner in itertools.product(patterns, heads, inner):
        attention = FixedAttention(128, n_head, 256, d_inner=d_inner, backend="sdpa", **pattern)
        assert attention.n_head == n_head and pattern["summary"] < pattern["block"]


@pytest.mark.slow
@pytest.mark.parametrize("words", [("model.attention={block:16,summary:4,groups:2}", "model.attention.d_inner=128")])
def test_a_pattern_and_an_inner_width_are_set_together(config, words):
    for order in itertools.permutations(words):
        attention = config("data=synthetic", "experiment=sparse_gpt", *order).model.attention
        assert (attention.block, attention.groups, attention.d_inner) == (16, 2, 128)


@pytest.mark.parametrize("search", ["batch_size", "gpt", "unet", "gpt_sparse"])
def test_trials_whose_updates_are_not_comparable_are_not_compared(search):
    """An update of another batch is another share of the run."""
    defaults = OmegaConf.load(CONFIGS / "hparams_search" / f"{search}.yaml").defaults
    assert {"override /hydra/sweeper/pruner": "none"} in defaults
