"""Promises of searches over variants: each name stands for its overrides, the study knows them, the base is the bar."""

import math

import optuna
import pytest
from messages import check_message
from omegaconf import OmegaConf
from optuna.trial import TrialState, create_trial
from tiny import CONFIGS, composed, options
from toy_searches import toy, valley  # noqa: F811, F401

from frontpage.command.errors import UserError
from frontpage.sweeps.against_base import AgainstBase
from frontpage.sweeps.settings import checked_variants
from frontpage.sweeps.space import read_space

VARIANTS = {"base": [], "high": ["y=2"], "both": ["y=1", "budget=3"]}


def test_each_variant_is_run_with_its_overrides_and_each_seed(toy):  # noqa: F811
    toy(valley, "x=choice(0,1)", "budget=2", sampler="grid", variants=VARIANTS, n_trials=99)
    said = [overrides for _, overrides in toy.direct.launched]
    assert said[:3] == [("x=0", "budget=2"), ("x=1", "budget=2"), ("x=0", "budget=2", "y=2")]
    assert len(said) == 6 and said[-1] == ("x=1", "budget=2", "y=1", "budget=3")  # what a variant changes comes last
    study = toy.study()
    assert [trial.params["variant"] for trial in study.trials] == ["base", "base", "high", "high", "both", "both"]
    assert study.trials[2].user_attrs["overrides"] == ["x=0", "budget=2", "y=2"]
    assert study.trials[2].value == valley(2, x=0, y=2)
    assert study.user_attrs["variants"] == VARIANTS


def test_the_command_line_chooses_variants(toy):  # noqa: F811
    toy(valley, "x=0", "variant=choice(both,base)", sampler="grid", variants=VARIANTS)
    assert [trial.params["variant"] for trial in toy.study().trials] == ["both", "base"]
    for word, said in {"variant=choice(base,hihg)": "did you mean 'high'", "variant=base": "choice(...)"}.items():
        check_message(toy(valley, "x=0", word, status=2, variants=VARIANTS, study_name="other"), ["variant", said])


def test_a_search_that_was_broken_off_goes_on_where_it_was(toy):  # noqa: F811
    def stops(number, **values):
        if number == 2:
            raise KeyboardInterrupt
        return valley(number, **values)

    toy(stops, "x=choice(0,1)", sampler="grid", variants=VARIANTS, status=130)
    toy(valley, "x=choice(0,1)", sampler="grid", variants=VARIANTS)
    trials = [trial for trial in toy.study().trials if "requeued" not in trial.user_attrs]
    points = [(trial.params["variant"], float(trial.params["x"])) for trial in trials]
    assert points == [(name, x) for name in VARIANTS for x in (0, 1)]
    assert all(trial.state is TrialState.COMPLETE for trial in trials)
    assert [trial.value for trial in trials] == [0.25, 0.25, 2.25, 2.25, 1.25, 1.25]


def test_a_study_is_not_continued_with_variants_that_mean_something_else(toy):  # noqa: F811
    toy(valley, "x=0", sampler="grid", variants=VARIANTS)
    other = VARIANTS | {"high": ["y=3"]}
    check_message(toy(valley, "x=0", sampler="grid", variants=other, status=2), ["toy", "another search", "variants"])


@pytest.mark.parametrize(
    "variants, said",
    [
        ("none", "a list of overrides for each name"),
        ({}, "a list of overrides for each name"),
        ({"a-b": []}, "letters, digits and _"),
        ({"a": "x=1"}, "a list of overrides"),
        ({"a": ["x"]}, "no overrides"),
        ({"a": ["x=1,2"]}, "no range"),
        ({"a": ["hydra.run.dir=x"]}, "no key of hydra"),
    ],
)
def test_what_is_no_variant_is_refused(variants, said, toy):  # noqa: F811
    check_message(toy(valley, "x=0", status=2, variants=variants), ["hydra.sweeper.variants", said])


@pytest.mark.slow
def test_every_search_over_variants_in_configs_composes_with_each_of_them():
    for name in options("hparams_search"):
        node = OmegaConf.load(CONFIGS / "hparams_search" / f"{name}.yaml")
        variants = checked_variants(node.hydra.sweeper.get("variants"))
        if variants is None:
            continue
        base = next(one["override /experiment"] for one in node.defaults if "override /experiment" in one)
        space = read_space(node.hydra.sweeper.params, [], variants)
        plain = composed(f"experiment={base}", "seed=1")
        for variant in variants:
            changed = composed(f"experiment={base}", *space.overrides({"variant": variant, "seed": 1}))
            assert (changed == plain) == (variant == "base"), variant  # each changes something


def study_with(*trials, direction="minimize"):
    """A study of trials (variant, seed, {update: value}, state)."""
    study = optuna.create_study(direction=direction)
    space = {
        "variant": optuna.distributions.CategoricalDistribution(["base", "other"]),
        "seed": optuna.distributions.CategoricalDistribution([1, 2]),
    }
    for variant, seed, values, state in trials:
        params = {"variant": variant, "seed": seed}
        value = [*values.values()][-1] if state is TrialState.COMPLETE else None
        told = {"state": state, "value": value, "params": params, "distributions": space}
        study.add_trial(create_trial(**told, intermediate_values=values))
    return study


BASE = {10: 4.0, 20: 3.0, 30: 2.0, 100: 1.0}


@pytest.mark.parametrize(
    "step, value, seed, pruned",
    [
        (30, 2.21, 1, True),
        (30, 2.19, 1, False),
        (20, 9.9, 1, False),  # not yet a quarter of the base's updates
        (30, 2.21, 2, False),  # the base of this seed is not complete
        (40, 2.21, 1, True),  # the base has no value there, and 2.0 before
        (40, 2.19, 1, False),
        (29, 3.31, 1, True),  # 3.0 at 20
        (29, 3.29, 1, False),
    ],
)
def test_a_variant_is_pruned_where_it_is_worse_than_the_base_of_its_seed(step, value, seed, pruned):
    running = TrialState.RUNNING
    study = study_with(
        ("base", 1, BASE, TrialState.COMPLETE),
        ("base", 2, {30: 0.1}, running),
        ("other", seed, {step: value}, running),
        ("base", 1, {30: 9.9}, running),
    )
    pruner = AgainstBase(margin=0.1, after=0.25, base="base")
    assert pruner.prune(study, study.trials[2]) is pruned
    assert not pruner.prune(study, study.trials[3])  # the base itself
    upwards = study_with(
        ("base", 1, {30: 0.5}, TrialState.COMPLETE), ("other", 1, {30: 0.4}, running), direction="maximize"
    )
    assert pruner.prune(upwards, upwards.trials[1])


@pytest.mark.parametrize("direction, sign", [("minimize", 1.0), ("maximize", -1.0)])
@pytest.mark.parametrize(
    "values, pruned",
    [
        ({20: 1.9, 30: 9.9}, False),  # it gets worse late, and is judged by its best
        ({20: 2.5, 30: 2.21}, True),
        ({20: math.nan, 30: 2.1}, False),
        ({30: math.nan}, False),
    ],
)
def test_a_variant_is_judged_by_its_best_value_so_far(values, pruned, direction, sign):
    base, other = ({step: sign * value for step, value in one.items()} for one in ({**BASE, 30: 8.0, 20: 2.0}, values))
    trials = ("base", 1, base, TrialState.COMPLETE), ("other", 1, other, TrialState.RUNNING)
    study = study_with(*trials, direction=direction)
    assert AgainstBase(margin=0.1, after=0.1, base="base").prune(study, study.trials[1]) is pruned


@pytest.mark.parametrize("key, value", [("margin", -0.1), ("after", 1.5), ("base", "")])
def test_a_pruner_that_makes_no_sense_is_refused(key, value):
    with pytest.raises(UserError, match=f"hydra.sweeper.pruner.{key}"):
        AgainstBase(**{"margin": 0.1, "after": 0.5, "base": "base"} | {key: value})
