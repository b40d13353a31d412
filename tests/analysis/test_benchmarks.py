"""Promises of the benchmark's sides: equal weights on the same batch, and each measured in a process of its own."""

import pytest
import torch

from frontpage.analysis.benchmarks.training_step import Settings, Sizes, both, in_own_process

TINY = Settings(Sizes(60, 8, 2, 1, 16, 2), 1, "cpu", "32-true", checkpointing=False, compile=False)


def test_the_sides_take_a_step_from_the_same_loss():
    torch.manual_seed(1)
    steps, net = both(TINY)
    assert [*steps] == ["reference", "ours"]
    assert sum(weight.numel() for weight in net.parameters()) == 60 * 16 + 8 * 16 + 12 * 16**2 + 13 * 16 + 2 * 16
    net.eval()  # dropout draws differently on the two sides
    assert steps["ours"]().item() == pytest.approx(steps["reference"]().item(), rel=0.05)


@pytest.mark.slow
def test_the_memory_of_a_side_is_measured_in_a_process_of_its_own():
    assert in_own_process("ours", TINY) >= 0
