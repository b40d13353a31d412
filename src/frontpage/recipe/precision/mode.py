"""PrecisionMode: what `precision=...` names, Lightning's precision and what is done to net and optimizer beside it."""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer

from frontpage.command.build import build
from frontpage.command.errors import BadValue
from frontpage.command.limits import OneOf, Text
from frontpage.machine.accelerator import find_accelerator
from frontpage.machine.precision import what_lacks

Lightnings = Annotated[str, OneOf("32-true", "bf16-mixed", "bf16-true", "16-mixed")]
Under = Annotated[str, OneOf("32-true", "bf16-mixed")]  # what a mode with fp32 weights may be combined with


class PrecisionMode:
    """A mode that is Lightning's alone; a subclass converts the net, brings an optimizer, or both.

    `name` is what messages call it, `lightning` what Lightning does.
    """

    needs: str | None = None  # a package of the extra `quantised`

    def __init__(self, name: Text, lightning: Lightnings) -> None:
        self.name, self.lightning = name, lightning

    def refusal(self, allowed: str) -> BadValue:
        """A UserError about the choice of this mode."""
        return BadValue("precision", self.name, allowed)

    def check(self, config: DictConfig) -> None:
        """Raise a UserError where this machine or another key of the config does not go with it."""
        device = find_accelerator(config.trainer.accelerator)
        lacking = what_lacks(self.lightning, device)
        if lacking:
            raise self.refusal(f"it is Lightning's {self.lightning}, and {lacking}")

    def optimizer(self, make_optimizer: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
        """The factory to use in place of the config's; UserError for one that does not go with it."""
        return make_optimizer

    def check_net(self, net: nn.Module) -> None:
        """Raise a UserError where a layer of a net is of a width that it cannot have."""

    def convert(self, net: nn.Module) -> None:
        """Change the layers of a net in place, after its weights were set and before the optimizer is built."""

    def weight_bytes(self, net: nn.Module, dtype: torch.dtype) -> int:
        """Bytes of a converted net's weights, for a net that is not converted yet and weights of `dtype`."""
        return sum(weight.numel() for weight in net.parameters()) * dtype.itemsize

    def save(self, net: nn.Module, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint, whose `state_dict` holds plain numbers, what it takes to go on to the bit."""

    def check_processes(self, processes: int) -> None:
        """Raise a UserError where it cannot train in so many processes."""

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Put into its `state_dict` what the net of a run that goes on takes over as it is."""

    def saved(self, net: nn.Module, dtype: torch.dtype) -> dict[str, Any]:
        """What `save` adds, right in size and type, for a net that is not converted yet and weights of `dtype`."""
        return {}

    def reopened(self, net: nn.Module) -> None:
        """Give a plain net with a run's weights those that it computed with."""


def mode_of(config: DictConfig) -> PrecisionMode | None:
    """The mode that `precision=...` names, None without it; UserError beside a `trainer.precision`."""
    if config.get("precision") is None:
        return None
    mode, said = build(config.precision, "precision"), config.trainer.precision
    if str(said) != "auto":
        raise BadValue("trainer.precision", said, f"auto, since precision={mode.name} says it: {mode.lightning}")
    return mode
