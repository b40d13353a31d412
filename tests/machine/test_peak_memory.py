"""The promise of a measured peak: it is what was added since the counting began."""

import gc

import torch

from frontpage.machine.peak_memory import peak_memory, start_counting


def test_the_measured_peak_is_the_rise_since_the_start():
    gc.collect()  # what earlier tests have left would be freed while this one counts
    start_counting(torch.device("cpu"))
    held = torch.ones(32 * 2**20)  # 128 MiB
    assert 120 * 2**20 < peak_memory(torch.device("cpu")) < 400 * 2**20
    del held
