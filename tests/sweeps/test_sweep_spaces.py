"""Promises of search spaces and samplers: grids, groups, conditions, seeds, and what is refused beforehand."""

import pytest
from messages import check_message
from omegaconf import OmegaConf
from tiny import CONFIGS
from toy_searches import SPACE, toy, valley  # noqa: F811, F401

from frontpage.command.errors import Infeasible, UserError
from frontpage.sweeps.settings import settings_of
from frontpage.sweeps.space import read_space


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "cmaes", "nsgaii"])
def test_every_sampler_searches(toy, sampler):  # noqa: F811
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    node = {"sampler_keys": {"n_startup_trials": 2}} if sampler in ("tpe", "gp", "cmaes") else {}
    toy(valley, SPACE, "y=int(interval(0,3))", n_trials=4, sampler=sampler, **node)
    points = [tuple(trial.params.values()) for trial in toy.study().trials]
    assert toy.states() == ["COMPLETE"] * 4 and len({*points}) > 1
    assert all(0 <= x <= 1 and y in range(4) for x, y in points)


def test_a_grid_runs_each_point_once_in_order(toy):  # noqa: F811
    space = ("x=choice(0,0.5)", "y=range(1,4)")
    for trials in (4, 20, 20):
        toy(valley, *space, sampler="grid", n_trials=trials)
    points = [(float(trial.params["x"]), trial.params["y"]) for trial in toy.study().trials]
    assert points == [(x, y) for x in (0, 0.5) for y in (1, 2, 3)]


def test_a_grid_takes_up_only_what_was_broken_off(toy):  # noqa: F811
    def stops(number, **values):
        if number == 1:
            raise KeyboardInterrupt
        if number == 2:
            raise RuntimeError("a failed point is done")
        return valley(number, **values)

    toy(stops, "x=choice(0,1,2)", sampler="grid", status=130)
    toy(stops, "x=choice(0,1,2)", sampler="grid")
    trials = toy.study().trials
    assert [trial.params["x"] for trial in trials] == [0, 1, 1, 2]
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]


def test_groups_and_texts_reach_the_run_as_the_command_line_spells_them(toy):  # noqa: F811
    space = ("model/attention=choice(causal,local)", "rate=choice(1e-3,true)", "fixed=3", "~left.out")
    toy(lambda number, **values: 1.0, *space, sampler="grid")
    said = [overrides for _, overrides in toy.direct.launched]
    assert said[0] == ("model/attention=causal", "rate=0.001", "fixed=3", "~left.out")
    assert said[-1] == ("model/attention=local", "rate=true", "fixed=3", "~left.out")
    assert len(said) == 4


def also_width(config, trial):
    """Only a flat kind has a width; and y may not be above it."""
    if trial.params["kind"] == "flat":
        width = trial.suggest_int("width", 1, 3)
        if trial.params["y"] > width:
            raise Infeasible(f"y={trial.params['y']} is above width={width}")


def test_a_space_with_a_condition_and_a_constraint(toy):  # noqa: F811
    space = ("kind=choice(round,flat)", "y=int(interval(0,3))")
    path = f"{also_width.__module__}.also_width"
    ran = []

    def objective(number, kind, y, width=None, **others):
        ran.append((kind, y, width))
        return float(y)

    toy(objective, *space, n_trials=12, custom_search_space=path, sampler="random")
    assert len(ran) == 12 and {kind for kind, _, _ in ran} == {"round", "flat"}
    assert all((width is None) == (kind == "round") for kind, _, width in ran)
    assert all(y <= width for kind, y, width in ran if kind == "flat")
    skipped = [trial for trial in toy.study().trials if trial.state.name == "FAIL"]
    assert skipped and all("is above width" in trial.user_attrs["reason"] for trial in skipped)


def test_the_command_line_wins_over_the_file():
    space = read_space({"x": "interval(0,1)", "y": 2, "z": "choice(1,2)"}, ["y=choice(3,4)", "z=5", "x=interval(0,2)"])
    assert space.texts == {"y": "choice(3,4)", "x": "interval(0,2)"}
    assert space.fixed == ["z=5"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x=interval(1,0)", "x=interval(1,0)"),
        ("x=tag(log,interval(0,1))", "x=tag(log,interval(0,1))"),
        ("x=range(3,3)", "x=range(3,3)"),
        ("x=glob(a*)", "x=glob(a*)"),
        ("name=choice(a,b)", "name=choice(a,b)"),
        ("x=choice(a,8,b,8)", "x=choice(a,8,b,8): has 8 more than once"),
    ],
)
def test_a_range_that_holds_nothing_is_refused(text, said):
    with pytest.raises(UserError) as refused:
        read_space({}, [text])
    check_message(str(refused.value), (said,))


@pytest.mark.parametrize(
    ("arguments", "keys", "pieces"),
    [
        ([], {}, ["hydra.sweeper.params={}", "nothing to search"]),
        ([SPACE], {"sampler": "grid"}, ["x=interval(0,1)", "a grid takes choice(a,b) and range(a,b) only"]),
        ([SPACE], {"config": {"ckpt_path": "last"}}, ["ckpt_path=last", "continues by itself"]),
        ([SPACE], {"config": {"init_from": "none/here"}}, ["init_from=none/here", "no such file"]),
        ([SPACE, "y=choice(1,2)"], {"sampler": "cmaes"}, ["hydra/sweeper/sampler=cmaes", "this space has 1"]),
        ([SPACE], {"params": 3}, ["hydra.sweeper.params=3", "a range for each key"]),
        ([SPACE], {"n_trials": 0}, ["hydra.sweeper.n_trials=0", "a whole number, at least 1"]),
        ([SPACE], {"n_trials": 2.5}, ["hydra.sweeper.n_trials=2.5", "a whole number"]),
        ([SPACE], {"max_failed": 0}, ["hydra.sweeper.max_failed=0", "at least 1"]),
        ([SPACE], {"max_retries": -1}, ["hydra.sweeper.max_retries=-1", "at least 0"]),
        ([SPACE], {"n_jobs": 0}, ["hydra.sweeper.n_jobs=0", "at least 1"]),
        ([SPACE], {"heartbeat": 0}, ["hydra.sweeper.heartbeat=0", "a number, above 0"]),
        ([SPACE], {"pruner": "medain"}, ["hydra.sweeper.pruner=medain", "did you mean 'median'", "hyperband"]),
        ([SPACE], {"direction": "down"}, ["hydra.sweeper.direction=down", "minimize or maximize"]),
        ([SPACE], {"study_name": "a/b"}, ["hydra.sweeper.study_name=a/b", "without /"]),
        ([SPACE], {"study_name": "../up"}, ["hydra.sweeper.study_name=../up", "without /"]),
        ([SPACE], {"study_name": ".."}, ["hydra.sweeper.study_name=..", "without /"]),
        ([SPACE], {"study_name": "a\tb"}, ["hydra.sweeper.study_name=a\\tb", "a text"]),
        ([SPACE], {"study_name": "x" * 300}, ["hydra.sweep.dir=", "File name too long"]),
        ([SPACE], {"storage": None}, ["hydra.sweeper.storage=null", "a path, or with :// a database"]),
        ([SPACE], {"storage": "/tmp"}, ["hydra.sweeper.storage=/tmp", "a file, or with :// a database"]),
        ([SPACE], {"storage": "/dev/null"}, ["hydra.sweeper.storage=/dev/null", "a file"]),
        ([SPACE], {"storage": "mysql://x/y"}, ["hydra.sweeper.storage=mysql://x/y", "sqlite:///FILE"]),
        ([SPACE], {"storage": "sqlite:////nowhere/x"}, ["hydra.sweeper.storage=sqlite", "unable to open"]),
        ([SPACE], {"n_trials": -1}, ["hydra.sweeper.n_trials=-1", "at least 1"]),
        ([SPACE], {"n_trials": 1e9}, ["hydra.sweeper.n_trials=1000000000.0", "a whole number"]),
        ([SPACE], {"seed": 2**32}, ["hydra.sweeper.seed=4294967296", "from 0 to 4294967295"]),
        ([SPACE], {"heartbeat": float("inf")}, ["hydra.sweeper.heartbeat=inf", "above 0"]),
        ([SPACE], {"direction": 3}, ["hydra.sweeper.direction=3", "minimize or maximize"]),
        (
            [SPACE],
            {"direction": ["minimize"] * 2, "config": {"objective": "val/loss"}},
            ["hydra.sweeper.direction=", "one for each of: val/loss"],
        ),
        ([SPACE], {"pruner": 3}, ["hydra/sweeper/pruner=3", "_target_"]),
        ([SPACE], {"sampler_keys": {"seed": "abc"}}, ["hydra.sweeper.sampler.seed=abc", "a whole number"]),
        ([SPACE], {"sampler_keys": {"_target_": None}}, ["hydra/sweeper/sampler=", "one of cmaes gp grid"]),
        (
            [SPACE],
            {"custom_search_space": "os.fspath"},
            ["custom_search_space=os.fspath", "is called with (config, trial)"],
        ),
        ([SPACE], {"custom_search_space": 3}, ["custom_search_space=3", "no such function"]),
        ([SPACE], {"skip_infeasible": "perhaps"}, ["hydra.sweeper.skip_infeasible=perhaps", "true or false"]),
        (
            [SPACE],
            {"custom_search_space": "nowhere.at_all"},
            ["custom_search_space=nowhere.at_all", "no such function"],
        ),
        ([SPACE], {"storage": "nonsense://x"}, ["hydra.sweeper.storage=nonsense://x", "cannot be opened"]),
        ([SPACE], {"storage": "/proc/nowhere/x"}, ["hydra.sweeper.storage=/proc/nowhere", "cannot be written"]),
    ],
    ids=lambda value: str(value),
)
def test_a_mistake_is_refused_before_anything_is_written(toy, arguments, keys, pieces):  # noqa: F811
    refused = toy(valley, *arguments, status=2, **keys)
    check_message(refused, pieces)
    assert [*toy.folder.rglob("*")] in ([], [toy.folder / "sweeps"]) and toy.direct.launched == []


@pytest.mark.parametrize(
    ("keys", "pieces"),
    [
        ({"+search_space": {"seed": 1}}, ["hydra.sweeper.search_space=", "did you mean 'custom_search_space'"]),
        ({"n_trial": 1}, ["hydra.sweeper.n_trial=1", "did you mean 'n_trials'"]),
        ({"~n_trials": None}, ["~hydra.sweeper.n_trials", "a search needs it"]),
        ({"sampler": None}, ["hydra/sweeper/sampler=null", "one of cmaes gp grid"]),
    ],
    ids=str,
)
def test_a_key_that_the_sweeper_does_not_have_or_lacks_is_told(keys, pieces):
    node = OmegaConf.to_container(OmegaConf.load(CONFIGS / "hydra/sweeper/optuna.yaml"), resolve=False)
    del node["defaults"], node["_target_"]
    node |= {"sampler": {"_target_": "optuna.samplers.TPESampler"}, "pruner": None, "study_name": "a", "seed": 1}
    node |= {"directory": "a", "storage": "a", "n_jobs": 1, "params": OmegaConf.create({})}
    node = OmegaConf.create(node)
    settings_of(node)
    for key, value in keys.items():
        if key.startswith("~"):
            del node[key[1:]]
        else:
            node[key.removeprefix("+")] = value
    with pytest.raises(UserError) as refused:
        settings_of(node)
    check_message(str(refused.value), pieces)


def test_cmaes_says_what_it_draws_at_random(toy, caplog):  # noqa: F811
    pytest.importorskip("cmaes")
    toy(valley, SPACE, "y=interval(0,1)", "kind.offset=choice(1,2)", n_trials=1, sampler="cmaes")
    assert "cmaes draws choices at random: kind.offset" in caplog.text


def test_a_sampler_without_its_package_names_the_extra(toy, monkeypatch):  # noqa: F811
    import sys

    monkeypatch.setitem(sys.modules, "cmaes", None)
    refused = toy(valley, SPACE, sampler="cmaes", status=2)
    check_message(refused, ["hydra/sweeper/sampler", "cmaes", "pip install -c constraints.txt -e '.[cmaes]'"])
