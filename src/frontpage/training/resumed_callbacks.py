"""Which callbacks' states a run that is continued can take over."""

import lightning as L

from frontpage.command.notices import notice
from frontpage.runs.checkpoint import Checkpoint, only_on_one_side
from frontpage.training.callbacks.weight_average import WeightAverage

BEST = "BestCheckpoint"  # whose state older runs kept under a longer key


def check_callbacks(trainer: L.Trainer, checkpoint: Checkpoint) -> None:
    """Say which callbacks' states a run cannot take over; a UserError where averaged weights are among them."""
    content = checkpoint.content
    if ("current_model_state" in content) != any(isinstance(one, WeightAverage) for one in trainer.callbacks):
        has = "averaged weights, and this run averages none; continue it with callbacks=ema"
        lacks = "no averaged weights to go on with; continue it without callbacks=ema"
        raise checkpoint.mistake(f"holds {has if 'current_model_state' in content else lacks}")
    own = {callback.state_key for callback in trainer.callbacks if callback.state_dict()}
    saved = [BEST if str(key).startswith(f"{BEST}{{") else key for key in content["callbacks"]]
    differing = only_on_one_side(saved, own)
    if differing:
        told = f"was written with other callbacks; those that differ start anew or are left out: {differing}"
        notice(f"{checkpoint.path} {told}")
