"""Promises of the bytes a parameter that a run prints: estimated at its start, counted from live tensors at its end."""

import re

import pytest
from tiny import TINY


def printed(command, *overrides):
    """(estimated, counted) numbers of the two lines: the sum, weights, gradients, optimizer."""
    ended = command(*TINY, "model.original_metric=never", "callbacks.sample_titles=null", *overrides)
    assert ended.status == 0
    lines = [line for line in ended.stdout.splitlines() if line.split(" ")[0] == "static:" or "static memory" in line]
    return [[float(number) for number in re.findall(r"\d+\.?\d*", line)] for line in lines]


@pytest.mark.slow
def test_both_lines_tell_the_same_and_what_adamw_takes(command):
    assert printed(command) == [[16, 4, 4, 8]] * 2


@pytest.mark.slow
def test_an_optimizer_without_a_state_takes_less_and_half_precision_half(command):
    assert printed(command, "optimizer=sgd") == [[8, 4, 4, 0]] * 2
    assert printed(command, "optimizer=sgd", "trainer.precision=bf16-true", "trainer.max_steps=2") == [[4, 2, 2, 0]] * 2
