"""Int8Optim: AdamW's two averages in a byte a weight."""

import functools
from collections.abc import Callable

from omegaconf import DictConfig
from torch.optim import Optimizer

from frontpage.command.limits import Text
from frontpage.recipe.optimizers.adamw_8bit import adamw_8bit
from frontpage.recipe.precision.mode import PrecisionMode, Under
from frontpage.recipe.precision.own_adamw import adamw_settings
from frontpage.recipe.precision.packages import package


class Int8Optim(PrecisionMode):
    """`optimizer=adamw_8bit` with the settings of `optimizer=adamw`; weights stay fp32, products are `lightning`'s."""

    def __init__(self, name: Text, lightning: Under = "bf16-mixed") -> None:
        super().__init__(name, lightning)

    def check(self, config: DictConfig) -> None:
        """Raise a UserError without bitsandbytes."""
        super().check(config)
        package("bitsandbytes.optim", self.name)

    def optimizer(self, make_optimizer: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
        """bitsandbytes' AdamW8bit; one that was chosen by itself is the same."""
        if getattr(make_optimizer, "func", None) is adamw_8bit:
            return make_optimizer
        return functools.partial(adamw_8bit, **adamw_settings(self, make_optimizer))
