"""The promise of a measured peak: it is what was added since the counting began."""

import gc
import mmap

import torch

from frontpage.machine.peak_memory import peak_memory, start_counting

MIB = 2**20


def test_the_measured_peak_is_the_rise_since_the_start():
    gc.collect()  # what earlier tests have left would be freed while this one counts
    start_counting(torch.device("cpu"))
    with mmap.mmap(-1, 128 * MIB) as held:  # no tensor: it might lie where an earlier test's has lain
        for _ in range(128):
            held.write(bytes([1]) * MIB)
        assert 120 * MIB < peak_memory(torch.device("cpu")) < 400 * MIB
