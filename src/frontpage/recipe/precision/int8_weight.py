"""Int8Weight: weights that are kept and updated as 8-bit integers."""

import copy
import functools
from collections.abc import Callable
from typing import Annotated, Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.optim import Optimizer

from frontpage.command.limits import OneOf, Text
from frontpage.recipe.precision.layers import among, trunk_linears
from frontpage.recipe.precision.mode import PrecisionMode
from frontpage.recipe.precision.own_adamw import adamw_settings, torchao_adamw
from frontpage.recipe.precision.packages import package

INT8 = "torchao.prototype.quantized_training"
KEY = "int8_weights"  # in a checkpoint
OPTIMIZERS = {"bf16": "_AdamW", "int8": "AdamW8bit"}


class Int8Weight(PrecisionMode):
    """torchao's int8 weight-only quantised training: a byte a weight and a factor a row, rounded by chance.

    The linear layers of the trunk are converted, all else is bf16. There is no copy in higher precision: an update
    rounds each weight up or down, so that it is right on average. torchao's AdamW takes the settings of
    `optimizer=adamw`; its `averages` are bf16 or int8, where that of the squares rounds to 0 before the other one
    does, so that a gradient which shrinks a thousandfold at once makes a step of a thousand times the rate.
    Whoever reopens a run has the weights as numbers.
    """

    def __init__(self, name: Text, averages: Annotated[str, OneOf(*OPTIMIZERS)] = "bf16") -> None:
        super().__init__(name, "bf16-true")
        self.averages = averages

    def check(self, config: DictConfig) -> None:
        """Raise a UserError without torchao, on several devices, and with an average of the weights."""
        super().check(config)
        trainer, why = config.trainer, "its weights are tensors of torchao's, with which this was not made to work"
        one = trainer.devices in (1, "1", "auto") or (OmegaConf.is_list(trainer.devices) and len(trainer.devices) == 1)
        if not one or trainer.strategy != "auto":
            asked = f"trainer.devices={trainer.devices} trainer.strategy={trainer.strategy}"
            raise self.refusal(f"{asked} contradict it: {why}; 1 and auto")
        for key, node in (config.get("callbacks") or {}).items():
            if node is not None and str(node.get("_target_")).endswith(("WeightAverage", "FinalAverage")):
                raise self.refusal(f"callbacks.{key} contradicts it: {why}; callbacks.{key}=null")
        package(INT8, self.name)

    def check_processes(self, processes: int) -> None:
        """Raise a UserError on several devices, which `auto` may have found."""
        if processes > 1:
            raise self.refusal(f"it trains on one device, and {processes} were found; trainer.devices=1")

    def check_net(self, net: nn.Module) -> None:
        """Try a block for what its attention does with weights by itself; UserError where that cannot be done."""
        if next(net.parameters()).is_meta:
            return
        block, width = copy.deepcopy(net.blocks[0]), net.widths[0]
        self._quantise(block)
        x, places = torch.ones(2, 3, width, dtype=torch.bfloat16), torch.arange(3)
        first = x if net.additions else None
        try:
            with torch.random.fork_rng(devices=[]):
                block.to(torch.bfloat16)(x, places.repeat(2, 1) * 0, places, None, first).sum().backward()
                with torch.no_grad():
                    block.eval()(x, None, places, block.attention.new_cache(), first)
        except (RuntimeError, NotImplementedError) as error:
            name, why = type(block.attention).__name__, type(error).__name__
            problem = f"its weights are tensors of torchao's, with which {name} does not compute ({why})"
            raise self.refusal(f"{problem}; another model/attention") from error

    def optimizer(self, make_optimizer: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
        """torchao's AdamW: PyTorch's and bitsandbytes' cannot update such weights."""
        settings = adamw_settings(self, make_optimizer)
        return functools.partial(torchao_adamw, kind=OPTIMIZERS[self.averages], mode=self.name, **settings)

    def convert(self, net: nn.Module) -> None:
        """Give linear layers such weights; a `state_dict` goes on holding plain numbers."""
        self._quantise(net)
        for layer in trunk_linears(net).values():
            layer.register_state_dict_post_hook(_as_numbers)

    def weight_bytes(self, net: nn.Module, dtype: torch.dtype) -> int:
        """A byte a weight of the converted layers, and a factor a row."""
        layers = trunk_linears(net).values()
        saved = sum(
            layer.weight.numel() * (dtype.itemsize - 1) - len(layer.weight) * dtype.itemsize for layer in layers
        )
        return super().weight_bytes(net, dtype) - saved

    def save(self, net: nn.Module, checkpoint: dict[str, Any]) -> None:
        """Add integers and factors, from which the numbers were computed, and which do not follow from them exactly."""
        weights = ((name, layer.weight) for name, layer in trunk_linears(net).items())
        parts = {name: {"int_data": weight.int_data, "scale": weight.scale} for name, weight in weights}
        checkpoint[KEY] = {f"net.{name}.weight": part for name, part in parts.items()}

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Put torchao's tensors into the place of the numbers."""
        kind = package(INT8, self.name).Int8QuantizedTrainingLinearWeight
        checkpoint["state_dict"] |= {name: kind(**parts) for name, parts in checkpoint[KEY].items()}

    def saved(self, net: nn.Module, dtype: torch.dtype) -> dict[str, Any]:
        """Integers and factors of the layers that are converted."""
        weights = ((f"net.{name}.weight", layer.weight) for name, layer in trunk_linears(net).items())
        sizes = {name: (weight.shape, len(weight)) for name, weight in weights}
        return {
            KEY: {
                name: {"int_data": torch.empty(shape, dtype=torch.int8), "scale": torch.empty(rows, dtype=dtype)}
                for name, (shape, rows) in sizes.items()
            }
        }

    def _quantise(self, part: nn.Module) -> None:
        config = package(INT8, self.name).int8_weight_only_quantized_training()
        package("torchao.quantization", self.name).quantize_(part, config, among(trunk_linears(part)))
        for layer in trunk_linears(part).values():
            layer.register_forward_pre_hook(_contiguous_input)
            layer.register_forward_hook(_contiguous_gradient)


def _contiguous_input(layer: nn.Linear, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """torchao's backward pass views inputs and gradients as matrices."""
    return (inputs[0].contiguous(),)


def _contiguous_gradient(layer: nn.Linear, inputs: tuple[Tensor], y: Tensor) -> None:
    if y.requires_grad:
        y.register_hook(Tensor.contiguous)


def _as_numbers(layer: nn.Linear, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Let a layer's state hold its weight as plain numbers."""
    state[f"{prefix}weight"] = layer.weight.detach().dequantize()
