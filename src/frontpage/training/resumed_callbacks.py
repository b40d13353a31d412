"""Which callbacks' states a run that is continued can take over."""

import lightning as L

from frontpage.command.notices import notice
from frontpage.runs.checkpoint import Checkpoint, only_on_one_side
from frontpage.training.callbacks.averaged_weights import AveragedWeights

BEST = "BestCheckpoint"  # whose state older runs kept under a longer key


def check_callbacks(trainer: L.Trainer, checkpoint: Checkpoint) -> None:
    """Say which callbacks' states a run cannot take over; a UserError where averaged weights are among them."""
    content = checkpoint.content
    average = next((one for one in trainer.callbacks if isinstance(one, AveragedWeights)), None)
    if ("current_model_state" in content) != (average is not None):
        has = "averaged weights, and this run averages none; continue it with callbacks=ema or final_average, as it was"
        lacks = "no averaged weights to go on with; continue it without callbacks=ema and final_average"
        raise checkpoint.mistake(f"holds {has if 'current_model_state' in content else lacks}")
    if average is not None and not average.settings().keys() <= content.get("averaging_state", {}).keys():
        raise checkpoint.mistake("holds weights that were averaged otherwise; continue it with the callbacks it had")
    own = {callback.state_key for callback in trainer.callbacks if callback.state_dict()}
    saved = [BEST if str(key).startswith(f"{BEST}{{") else key for key in content["callbacks"]]
    differing = only_on_one_side(saved, own)
    if differing:
        told = f"was written with other callbacks; those that differ start anew or are left out: {differing}"
        notice(f"{checkpoint.path} {told}")
