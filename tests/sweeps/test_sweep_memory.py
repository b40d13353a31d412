"""Promise of a long sweep: what a trial took is given back."""

import os
from pathlib import Path

import pytest
from tiny import TINY

from frontpage.sweeps.loop import Sweep

TRIALS, MOST = 20, 50 * 2**20  # bytes from the third trial to the last


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_resident_memory_does_not_grow_from_trial_to_trial(command, monkeypatch):
    resident, say = [], Sweep._say

    def measured(self, number):
        say(self, number)
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    monkeypatch.setattr(Sweep, "_say", measured)
    search = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=random", "optimizer.lr=interval(1e-3,1e-2)"]
    wide = ["model.d_model=256", "trainer.max_steps=1", f"hydra.sweeper.n_trials={TRIALS}"]  # 4 MB of weights a trial
    outcome = command(*TINY, "--multirun", *search, *wide)
    assert outcome.status == 0, outcome.stdout[-2000:] + outcome.stderr
    assert len(resident) == TRIALS
    print([round(one / 2**20) for one in resident])
    assert resident[-1] - resident[2] < MOST, [round(one / 2**20) for one in resident]
