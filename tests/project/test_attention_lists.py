"""The promise of every list of attentions that people read or search over: all variants are in it, and no other."""

import re

from omegaconf import OmegaConf
from tiny import CONFIGS, ROOT, options

from frontpage.sweeps.attention_knobs import KNOBS

VARIANTS = {*options("model/attention")}


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def searched(name):
    """(variants, trials) of a search over them."""
    sweeper = OmegaConf.load(CONFIGS / "hparams_search" / f"{name}.yaml").hydra.sweeper
    choices = re.fullmatch(r"choice\((.*)\)", sweeper.params["model/attention"])[1]
    return {*choices.split(",")}, sweeper.n_trials


def test_every_list_of_attentions_has_each_variant():
    table = text_of("docs/attention.md").split("\n## ")[0]
    lists = {
        "README.md": {*re.search(r"`model/attention=([\w|]+)`", text_of("README.md"))[1].split("|")},
        "docs/attention.md, the first table": {*re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)},
        "configs/hparams_search/attention.yaml": searched("attention")[0],
    }
    missing = {place: sorted(VARIANTS - names) for place, names in lists.items() if VARIANTS - names}
    assert missing == {}, "these places list every attention, and lack some"
    gone = {place: sorted(names - VARIANTS) for place, names in lists.items() if names - VARIANTS}
    assert gone == {}, "these places list what is no attention"


def test_the_search_over_the_list_of_attentions_has_a_trial_for_each_of_three_rates():
    trials = 3 * len(VARIANTS)
    assert searched("attention")[1] == trials, f"configs/hparams_search/attention.yaml needs n_trials: {trials}"
    for place in ("configs/hparams_search/attention.yaml", "docs/sweeps.md"):
        assert f"{trials} short runs" in text_of(place), f"{place} needs {trials} short runs"


def test_the_search_over_knobs_has_causal_and_the_variants_with_knobs():
    choices, _ = searched("conditional")
    assert choices == {"causal", *KNOBS}, "configs/hparams_search/conditional.yaml and KNOBS of attention_knobs.py"
    for variant, knobs in KNOBS.items():
        assert {*knobs} <= {*OmegaConf.load(CONFIGS / "model/attention" / f"{variant}.yaml")}, variant
