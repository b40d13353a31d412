"""Promises of the order of tasks: exact shares, and a pure function of the seed and the step."""

from collections import Counter

import pytest

from frontpage.command.points import CourseLimit, Points
from frontpage.data.parallel.task_order import BLOCK, TaskOrder
from frontpage.recipe.tasks.task import Task

FOUR = {"lm": 0.7, "coherence": 0.15, "cross_reference": 0.075, "paraphrase": 0.075}


def order_of(weights, seed=0, **more):
    return TaskOrder({name: Points.of(weight) for name, weight in weights.items()}, seed, **more)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("block", [0, 1, 17])
def test_forty_micro_steps_hold_28_6_3_and_3(seed, block):
    order = order_of(FOUR, seed)
    counts = Counter(order.at(step)[0] for step in range(block * BLOCK, (block + 1) * BLOCK))
    assert counts == {"lm": 28, "coherence": 6, "cross_reference": 3, "paraphrase": 3}


def test_the_order_is_the_same_from_anywhere_and_another_for_another_seed():
    whole = [order_of(FOUR).at(step) for step in range(200)]
    fresh = order_of(FOUR)
    assert [fresh.at(step) for step in reversed(range(200))] == whole[::-1]
    assert [order_of(FOUR).at(step) for step in (137, 3)] == [whole[137], whole[3]]
    assert [order_of(FOUR, 1).at(step)[0] for step in range(200)] != [name for name, _ in whole]
    assert [name for name, _ in whole[:40]] != [name for name, _ in whole[40:80]], "each block has a shuffle of its own"


@pytest.mark.parametrize("how", ["stratified", "iid"])
def test_the_number_before_counts_the_steps_of_the_same_task(how):
    order, seen = order_of(FOUR, 3, how=how), Counter()
    for step in range(300):
        name, before = order.at(step)
        assert before == seen[name]
        seen[name] += 1


@pytest.mark.parametrize("rare", [0.001, 0.004, 0.02, 0.33])
def test_a_weight_that_fills_no_step_of_a_block_has_its_share_in_the_end(rare):
    order = order_of({"lm": 1 - rare, "coherence": rare})
    steps = BLOCK * 250
    counts = Counter(order.at(step)[0] for step in range(steps))
    assert abs(counts["coherence"] - rare * steps) <= 1 and sum(counts.values()) == steps


def test_drawn_tasks_have_their_shares_on_average():
    order = order_of(FOUR, 5, how="iid")
    counts = Counter(order.at(step)[0] for step in range(8000))
    blocks = [Counter(order.at(step)[0] for step in range(s, s + BLOCK)) for s in (0, 40)]
    assert all(abs(counts[name] / 8000 - weight) < 0.02 for name, weight in FOUR.items()) and blocks[0] != blocks[1]


def test_a_course_of_weights_is_followed_in_updates():
    weights = {"lm": 1.0, "coherence": [[0, 0.0], [40, 0.0], [80, 1.0]]}
    order = order_of(weights, update_of=lambda step: step // 2)
    shares = [sum(order.at(step)[0] == "coherence" for step in range(s, s + BLOCK)) for s in range(0, 320, BLOCK)]
    assert shares[:4] == [0, 0, 0, 13] and shares[4:] == [20] * 4  # of 40: 60 updates are half way, 80 the end
    assert order.share("coherence") == 0.5 and order.share("nothing") == 0


def test_a_task_without_a_weight_is_never_trained():
    assert {order_of({"lm": 0.0, "coherence": 1.0}).at(step)[0] for step in range(200)} == {"coherence"}
    assert {order_of(FOUR | {"lm": 0}).at(step)[0] for step in range(200)} == FOUR.keys() - {"lm"}


@pytest.mark.parametrize("weights", [{"lm": 0.0}, {"lm": [[0, 1.0], [10, 0.0]]}])
def test_a_time_without_any_task_is_refused(weights):
    with pytest.raises(ValueError, match="no task has a weight at update"):
        order_of(weights)


def test_points_are_linear_between_and_constant_behind():
    course = Points.of([[0, 1.0], [10, 3.0], [20, 0.0]])
    assert [course.at(update) for update in (0, 5, 10, 15, 20, 1000)] == [1.0, 2.0, 3.0, 1.5, 0.0, 0.0]
    assert Points.of(0.25).at(7) == 0.25


@pytest.mark.parametrize("course", [[[0, 1.0], [0.5, 0.0]], [[0, 1.0], [1, 10.0]], [[0, 1.0], [7.5, 0.0]]])
def test_a_course_of_a_task_that_reads_as_shares_of_the_run_is_refused(course):
    with pytest.raises(ValueError, match=r"weight=.*a course over whole updates"):
        Task(weight=course)
    assert Task(weight=[[0, 1.0], [2, 0.0]]).weight.at(1) == 0.5


@pytest.mark.parametrize(
    "wrong",
    [-1, float("nan"), float("inf"), [], [[1, 1]], [[0, 1], [0, 2]], [[0, -1]], [0, 1], "0.5", [[0, "x"]], None],
)
def test_what_is_no_course_is_refused(wrong):
    assert not CourseLimit().holds(wrong)
    with pytest.raises(ValueError, match="weight="):
        Points.of(wrong, "weight")
