"""Fp8: products of 8-bit floating-point numbers in training; weights as they were."""

import torch
from omegaconf import DictConfig
from torch import nn

from frontpage.command.limits import Text
from frontpage.command.notices import notice
from frontpage.recipe.precision.layers import among, trunk_linears
from frontpage.recipe.precision.mode import PrecisionMode, Under
from frontpage.recipe.precision.packages import package

OLDEST = (9, 0)  # compute capability: H100
MULTIPLE = 16  # of both widths of a layer that is converted


class Fp8(PrecisionMode):
    """torchao's float8 training with a factor a tensor, computed anew for each product; a GPU like an H100 needs it.

    The linear layers of the trunk are converted.
    """

    emulated = False  # computed in fp32 after the same rounding, for tests

    def __init__(self, name: Text, lightning: Under = "bf16-mixed") -> None:
        super().__init__(name, lightning)

    def check(self, config: DictConfig) -> None:
        """Raise a UserError without such a GPU, or without torchao."""
        there = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
        if there is None or there < OLDEST:
            has = "has no CUDA GPU" if there is None else f"has a GPU of capability {there[0]}.{there[1]}"
            raise self.refusal(f"it needs a GPU of compute capability 9.0 or more (H100), and this machine {has}")
        super().check(config)
        package("torchao.float8", self.name)

    def convert(self, net: nn.Module) -> None:
        """Swap linear layers for torchao's, with the same parameters; a notice counts those that are left."""
        float8, found = package("torchao.float8", self.name), trunk_linears(net, MULTIPLE)
        config = float8.Float8LinearConfig(emulate=self.emulated, pad_inner_dim=True)  # tokens of a batch
        float8.convert_to_float8_training(net, module_filter_fn=among(found), config=config)
        left = len(trunk_linears(net)) - len(found)
        if left:
            notice(f"precision={self.name}: {left} layers whose widths are no multiples of {MULTIPLE} stay as they are")
