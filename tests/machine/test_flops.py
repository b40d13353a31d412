"""Promises of counted operations: a forward pass by its parts, in one round and in two."""

import pytest
import torch
from nets import added

from frontpage.machine.flops import forward_flops_per_token, training_flops_per_token
from frontpage.models.additions.recurrence import Recurrence


@torch.no_grad()
def test_a_forward_pass_is_a_third_of_training_and_each_round_is_one_more_of_the_trunk():
    once, twice = added(), added(addition={"recurrence": Recurrence})
    assert forward_flops_per_token(once, 8) == pytest.approx(training_flops_per_token(once, 8) / 3)
    twice.additions["recurrence"].at(1.0)  # the last part of a run
    assert twice.rounds == 2
    head = 2.0 * once.head.weight.numel()
    trunk = forward_flops_per_token(once, 8) - head
    assert forward_flops_per_token(twice, 8) == pytest.approx(2 * trunk + head)
    assert training_flops_per_token(twice, 8) == pytest.approx(3 * (trunk + head) + trunk)
