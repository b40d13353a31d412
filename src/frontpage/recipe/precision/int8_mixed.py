"""Int8Mixed: products of 8-bit integers in training; weights as they were."""

import functools

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F

from frontpage.command.limits import Text
from frontpage.command.notices import notice
from frontpage.recipe.precision.layers import trunk_linears
from frontpage.recipe.precision.mode import PrecisionMode, Under
from frontpage.recipe.precision.packages import package

INT8 = "torchao.prototype.quantized_training.int8_mixed_precision"
MULTIPLE = 16  # of both widths of a layer that is converted: what the kernels of GPUs take


class Int8Mixed(PrecisionMode):
    """torchao's int8 mixed-precision training: inputs, weights and gradients are rounded row by row for each product.

    It saves no memory, and time where int8 products are fast (NVIDIA GPUs from Ampere on). Validations and what is
    reopened compute with the weights as they are. The linear layers of the trunk are converted.
    """

    def __init__(self, name: Text, lightning: Under = "bf16-mixed") -> None:
        super().__init__(name, lightning)

    def check(self, config: DictConfig) -> None:
        """Raise a UserError without torchao."""
        super().check(config)
        package(INT8, self.name)

    def convert(self, net: nn.Module) -> None:
        """Give linear layers another class; a notice counts those that are left."""
        int8, found = package(INT8, self.name), trunk_linears(net, MULTIPLE)
        kind, settings = _class_over(int8.Int8MixedPrecisionTrainingLinear), int8.Int8MixedPrecisionTrainingConfig()
        for layer in found.values():
            layer.__class__, layer.config = kind, settings
            layer.product = int8._Int8MixedPrecisionTrainingLinearFunction.apply
        left = len(trunk_linears(net)) - len(found)
        if left:
            notice(f"precision={self.name}: {left} layers whose widths are no multiples of {MULTIPLE} stay as they are")


class TrainsInInt8:
    """Mixed into torchao's layer: in training alone, and in autocast's type, which that one leaves aside."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., D)."""
        if not self.training:
            return F.linear(x, self.weight, self.bias)
        cast = torch.is_autocast_enabled(x.device.type)
        kind = torch.get_autocast_dtype(x.device.type) if cast else x.dtype
        y = self.product(x.to(kind).contiguous(), self.weight, None, self.config)
        if y.requires_grad:
            y.register_hook(Tensor.contiguous)  # the backward pass views it as a matrix
        return y if self.bias is None else y + self.bias.to(kind)


@functools.cache
def _class_over(base: type[nn.Linear]) -> type[nn.Linear]:
    return type("Int8MixedLinear", (TrainsInInt8, base), {})
