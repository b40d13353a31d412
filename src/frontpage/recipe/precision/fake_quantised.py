"""FakeQuantised: training that feels the rounding of the integers which the model is exported in."""

from typing import Annotated, Any

import torch
from omegaconf import DictConfig
from torch import nn

from frontpage.command.errors import BadValue
from frontpage.command.limits import Count, OneOf, Text
from frontpage.recipe.precision.layers import among, trunk_linears
from frontpage.recipe.precision.mode import PrecisionMode, Under
from frontpage.recipe.precision.packages import package, quiet

TYPES = {8: torch.int8, 4: torch.int4}


class FakeQuantised(PrecisionMode):
    """torchao's quantisation-aware training: each product takes the weights as rounded to `bits`, updates change fp32.

    Gradients pass through the rounding (Jacob et al. 2018, arXiv 1712.05877). Integers are symmetric about 0, with a
    factor for each row, or for each `group_size` weights of one. It saves no memory in training; `export.py --format
    quantised` writes the integers. The linear layers of the trunk are converted; the embedding, with the head, stays.
    Whoever reopens a run has the rounded weights, which its validations were of.
    """

    def __init__(
        self,
        name: Text,
        bits: Annotated[int, OneOf("8", "4")],
        group_size: Count | None = None,
        lightning: Under = "bf16-mixed",
    ) -> None:
        super().__init__(name, lightning)
        if bits not in TYPES:
            raise ValueError(f"bits={bits}: one of {' '.join(map(str, TYPES))}")
        self.bits, self.group_size = bits, group_size

    def check(self, config: DictConfig) -> None:
        """Raise a UserError without torchao."""
        super().check(config)
        package("torchao.quantization", self.name)

    def check_net(self, net: nn.Module) -> None:
        """Raise a UserError where a layer's inputs are no whole number of groups."""
        for name, layer in trunk_linears(net).items():
            if self.group_size and layer.in_features % self.group_size:
                problem = f"must divide the inputs of every layer; {name} has {layer.in_features}"
                raise BadValue("precision.group_size", self.group_size, problem)

    def convert(self, net: nn.Module) -> None:
        """Swap linear layers for those that round; their weights stay the same parameters."""
        self._apply(net, "prepare", base=self.quantisation())

    def reopened(self, net: nn.Module) -> None:
        """Round the weights, in fp32."""
        self.convert(net)
        with torch.no_grad():
            for layer in trunk_linears(net).values():
                layer.weight.copy_(layer.weight_fake_quantizer(layer.weight))
        self._apply(net, "convert")

    def quantise(self, net: nn.Module) -> None:
        """Make a plain net with the weights that updates changed one of integers (torchao's tensors)."""
        self.convert(net)
        self._apply(net, "convert", base=self.quantisation())

    def quantisation(self) -> Any:
        """What torchao is asked for."""
        ao = package("torchao.quantization", self.name)
        size = ao.PerGroup(self.group_size) if self.group_size else ao.PerAxis(0)
        return ao.IntxWeightOnlyConfig(weight_dtype=TYPES[self.bits], granularity=size)

    def _apply(self, net: nn.Module, step: str, base: Any = None) -> None:
        ao, qat = (package(f"torchao.quantization{part}", self.name) for part in ("", ".qat"))
        with quiet():
            ao.quantize_(net, qat.QATConfig(base, step=step), among(trunk_linears(net)))
