"""Promises of GrokkingRule: a change counts once the training set was known by heart, and a state goes on the same."""

import pytest

from frontpage.evaluation.grokking import GrokkingRule

DROP = 5000


def value_at(step):
    return 4.0 if step < DROP else 2.0


def verdicts(rule, trained=lambda step: 0.01, steps=range(100, 7001, 100), **more):
    found = [(step, rule.observe(step, value_at(step), trained(step), **more)) for step in steps]
    return [one for one in found if one[1] is not None]


def test_a_sudden_lasting_drop_is_a_candidate_and_confirmed():
    assert verdicts(GrokkingRule()) == [(5200, "candidate"), (6200, "confirmed")]
    assert verdicts(GrokkingRule(), trained=lambda step: None) == [(5200, "candidate"), (6200, "confirmed")]


def test_a_drop_that_reverts_is_rejected():
    rule = GrokkingRule()
    found = [(step, rule.observe(step, 2.0 if DROP <= step < 5700 else 4.0)) for step in range(100, 7001, 100)]
    assert [one for one in found if one[1]] == [(5200, "candidate"), (6200, "rejected")]


@pytest.mark.parametrize(
    ("keys", "trained", "seen"),
    [
        ({"memorized_loss": 0.1}, lambda step: 0.01, True),
        ({"memorized_loss": 0.1}, lambda step: 0.2, False),
        ({"memorized_loss": 0.1}, lambda step: None, False),
        ({"memorized_loss": 0.1}, lambda step: 0.2 if step <= 4700 else 0.01, False),  # known when it is too late
        ({"memorized_loss": 0.1}, lambda step: 0.2 if step <= 4600 else 0.01, True),
        ({"memorized_gap": 3.0}, lambda step: 0.5, True),
        ({"memorized_gap": 3.0}, lambda step: 1.5, False),
        ({"memorized_gap": 3.0, "memorized_loss": 0.1}, lambda step: 0.5, False),
    ],
)
def test_what_is_not_known_by_heart_is_no_grokking(keys, trained, seen):
    found = verdicts(GrokkingRule(**keys), trained, range(100, 5301, 100))
    assert (found[:1] == [(5200, "candidate")]) == seen


def test_the_gap_of_a_metric_that_is_no_loss_is_the_loss_given():
    rule = GrokkingRule(memorized_gap=3.0, higher=True)
    found = [rule.observe(step, 0.1 if step < DROP else 0.9, 0.1, 4.0) for step in range(100, 5301, 100)]
    assert found.count("candidate") == 1
    rule = GrokkingRule(memorized_gap=3.0, higher=True)
    assert {rule.observe(step, 0.1 if step < DROP else 0.9, 0.1, 2.0) for step in range(100, 5301, 100)} == {None}


@pytest.mark.parametrize("cut", [4600, 5100, 5200, 5900])
def test_a_state_goes_on_as_if_nothing_had_been(cut):
    first, second = GrokkingRule(memorized_loss=0.1), GrokkingRule(memorized_loss=0.1)
    early = verdicts(first, steps=range(100, cut + 1, 100))
    second.load_state_dict(first.state_dict())
    assert early + verdicts(second, steps=range(cut + 100, 7001, 100)) == [(5200, "candidate"), (6200, "confirmed")]
