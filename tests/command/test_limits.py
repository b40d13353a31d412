"""What a limit lets through and how it says it, and what an annotation with limits means to the check of a config."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import grimp
import pytest
from omegaconf import OmegaConf

from frontpage.command.check import Rules, allowed, check_nodes, fits, parameters
from frontpage.command.errors import UserError
from frontpage.command.limits import AtLeast, Between, Count, Each, Matching, OneOf, Positive, Seed, Text
from frontpage.training.callbacks.loss_spike import LossSpike

NEVER = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(
    ("limit", "words", "inside", "outside"),
    [
        (AtLeast(1), "at least 1", [1, 1e30], [0, 0.999, -1]),
        (AtLeast(2, 9), "at least 2, at most 9", [2, 9], [1, 10]),
        (AtLeast(2, 9, "a pair"), "at least 2 (a pair), at most 9", [2, 9], [1, 10]),
        (Between(0, 1), "from 0 to 1", [0, 0.5, 1], [-1e-9, 1 + 1e-9]),
        (Between(0, 1, "[)"), "from 0 to below 1", [0, 0.5], [-1e-9, 1]),
        (Between(0, 1, "(]"), "above 0, up to 1", [1e-9, 1], [0, 1 + 1e-9]),
        (Between(0, 1, "()"), "between 0 and 1, both excluded", [1e-9, 0.5], [0, 1]),
        (Between(0, math.inf, "()"), "above 0", [1e-9, 1e30], [0, -1]),
        (Each(Between(0, 1, "[)")), "each from 0 to below 1", [[], [0, 0.9]], [[0.9, 1], [math.nan, 0.5]]),
        (OneOf("32", "auto"), "one of 32 auto", ["32", 32, "auto"], ["", "3", "auto "]),
        (Matching("a+", "letters"), "letters", ["a", "aa", {"hours": 1}], ["", "ab", "a\n"]),
    ],
    ids=repr,
)
def test_a_limit(limit, words, inside, outside):
    assert limit.words == words
    never = NEVER if isinstance(limit, AtLeast | Between) else []
    assert [limit.holds(value) for value in inside] == [True] * len(inside)
    assert not any(limit.holds(value) for value in (*outside, *never))


@pytest.mark.parametrize(
    ("kind", "words", "fitting", "others"),
    [
        (Count, "a whole number, at least 1", [1, 10**30], [0, 1.0, 1e30, True, "1", None, [1], *NEVER]),
        (Count | None, "a whole number, at least 1, or null", [1, None], [0, "x", *NEVER]),
        (Positive, "a number, above 0", [1, 0.5], [0, "1", False, *NEVER]),
        (Seed, "a whole number, from 0 to 4294967295", [0, 2**32 - 1], [-1, 2**32, 0.5]),
        (Text, "text, not empty", ["a", "\n"], ["", 1, None]),
        (Annotated[int | None, AtLeast(3)], "a whole number, at least 3, or null", [3, None], [2]),
        (Annotated[str | int, OneOf("32")], "one of 32", ["32", 32], ["31", [32]]),
        (Annotated[tuple[float, float], Each(AtLeast(0))], "a list of 2, each at least 0", [[0, 1]], [[0], [-1, 0]]),
        (Annotated[Count, AtLeast(0, 5)], "a whole number, at least 1, at least 0, at most 5", [1, 5], [0, 6]),
        (Annotated[int, "a remark of another library"], "a whole number", [-1], ["x"]),
        (Literal["a", "b"] | None, "a or b, or null", ["a", None], ["c"]),
        (Sequence[int] | None, "a list, or null", [[1], None], [["x"], 1]),
        (Callable[..., Any], "a node with a _target_", [], []),
    ],
    ids=str,
)
def test_an_annotation(kind, words, fitting, others):
    assert allowed(kind) == words
    assert [value for value in fitting if not fits(value, kind)] == []
    assert [value for value in others if fits(value, kind)] == []


CALLBACK = "frontpage.training.callbacks.loss_spike.LossSpike"
EARLY_STOPPING = "frontpage.training.callbacks.early_stopping.EarlyStopping"
ADAM = {"_target_": "torch.optim.Adam"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"seed": -1}, "seed=-1: must be a whole number, from 0 to 4294967295"),
        ({"seed": True}, "seed=true: must be a whole number, from 0 to 4294967295"),
        ({"spike": {"_target_": CALLBACK, "window": 0}}, "spike.window=0: must be a whole number, at least 1"),
        (
            {"a": {"b": {"_target_": CALLBACK, "windw": 9}}},
            "a.b.windw=9: " + CALLBACK + " takes no such key (did you mean 'window'?); it takes: action",
        ),
        # what a class of ours passes on to one that is not
        ({"stop": {"_target_": EARLY_STOPPING, "patience": 0}}, "stop.patience=0: must be a whole number, at least 1"),
        ({"stop": {"_target_": EARLY_STOPPING, "strict": 3}}, "stop.strict=3: must be true or false"),
        ({"stop": {"_target_": EARLY_STOPPING, "nope": 3}}, "stop.nope=3: "),
        # a class that is not ours, with and without a type beside it
        ({"adam": ADAM | {"lr": 0}}, "adam.lr=0: must be a number, above 0"),
        ({"adam": ADAM | {"amsgrad": 1}}, "adam.amsgrad=1: must be true or false"),
        # a value taken over from another key is named where it is written
        ({"seed": 2, "adam": ADAM | {"lr": "${seed}"}, "narrow": {"_target_": CALLBACK, "window": 3}}, "narrow: asked"),
        ({"zero": 0, "adam": ADAM | {"lr": "${zero}"}}, "zero=0: must be a number, above 0"),
    ],
)
def test_a_config_is_checked_against_signatures_and_rules(config, message):
    def narrow(node, kinds):
        assert (node.window, sorted(kinds)) == (3, ["action", "threshold", "window"])
        raise UserError("narrow: asked")

    rules = Rules({"seed": Seed}, {"torch.optim.": {"lr": Positive}}, {"narrow": narrow})
    with pytest.raises(UserError) as error:
        check_nodes(OmegaConf.create({"seed": 1} | config), rules)
    assert str(error.value).startswith(message)


class Mine(LossSpike):
    """A user's own class, which leaves the rest to one of ours."""

    def __init__(self, factor: Count, **others: Any) -> None:
        super().__init__(**others)


def test_a_users_class_has_the_keys_of_ours_that_it_builds_on(monkeypatch):
    monkeypatch.setattr("frontpage.command.check.check_target", lambda target, key: None)
    monkeypatch.setattr("frontpage.command.check.get_object", lambda target: Mine)
    assert parameters("mine.Mine", "mine", {}) == {
        "factor": Count,
        "action": str,
        "threshold": Positive,
        "window": Count,
    }


def test_limits_import_nothing_of_ours_so_that_nets_may_name_theirs():
    graph = grimp.build_graph("frontpage", cache_dir=None)
    assert graph.find_modules_directly_imported_by("frontpage.command.limits") == set()
    ours = graph.find_modules_directly_imported_by("frontpage.command.check")
    assert {name.split(".")[1] for name in ours} == {"command"}
