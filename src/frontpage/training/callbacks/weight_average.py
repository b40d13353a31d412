"""WeightAverage: an exponential moving average of the weights."""

from typing import Any

import lightning as L
from torch.optim.swa_utils import get_ema_multi_avg_fn

from frontpage.command.limits import ShareBelow1
from frontpage.training.callbacks.averaged_weights import AveragedWeights


class WeightAverage(AveragedWeights):
    """After each update average = decay * average + (1 - decay) * weights; the first average is the first weights.

    Nothing corrects that start: after n updates the first weights have a share of decay^(n - 1), and a run that is not
    several times 1 / (1 - decay) updates long ends with much of them.
    """

    def __init__(self, decay: ShareBelow1 = 0.99) -> None:
        super().__init__(get_ema_multi_avg_fn(decay))
        self.decay = decay

    def takes(self, trainer: L.Trainer, pl_module: L.LightningModule) -> bool:
        """Those of every update."""
        return True

    def words(self) -> str:
        """For `run.json`."""
        return f"exponential moving average, decay {self.decay}"

    def settings(self) -> dict[str, Any]:
        """The decay."""
        return {"decay": self.decay}
