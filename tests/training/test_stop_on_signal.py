"""Promises of a run that a signal stops, in one of several processes, too."""

import signal

import pytest
from run_outputs import checkpoint_of, stop_at
from tiny import TINY

from frontpage.command.endings import Interrupted
from frontpage.training.callbacks.last_checkpoint import LastCheckpoint
from frontpage.training.callbacks.stop_on_signal import StopOnSignal


@pytest.mark.slow
def test_a_first_signal_that_comes_while_another_process_s_is_obeyed_does_not_keep_it_from_saving(
    command, tmp_path, monkeypatch
):
    """Of several processes one may hear it a moment later, when all have stopped for the other's."""
    save = LastCheckpoint._save

    def save_late(self, trainer):
        signal.raise_signal(signal.SIGTERM)
        save(self, trainer)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop_at(monkeypatch, 5, False, Interrupted("stopped by the signal of another process"))
    monkeypatch.setattr(LastCheckpoint, "_save", save_late)
    assert command(*TINY, f"hydra.run.dir={tmp_path}/run").status == 130
    assert checkpoint_of(tmp_path / "run")["global_step"] == 5
    handlers = [signal.getsignal(number) for number in before]
    assert not any(isinstance(getattr(one, "__self__", None), StopOnSignal) for one in handlers)
