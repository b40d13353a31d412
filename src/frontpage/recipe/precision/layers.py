"""The layers that a mode converts: the linear ones of the trunk. Heads stay, so that a tied one stays tied."""

from collections.abc import Callable, Mapping

from torch import nn

HEADS = ("head", "other_heads")  # the modules of a Decoder that are none of its trunk


def trunk_linears(net: nn.Module, multiple: int = 1) -> dict[str, nn.Linear]:
    """The linear layers of a net outside of its heads, by name; those whose two widths are multiples of `multiple`."""
    return {
        name: layer
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Linear)
        and name.partition(".")[0] not in HEADS
        and not (layer.in_features % multiple or layer.out_features % multiple)
    }


def among(layers: Mapping[str, nn.Linear]) -> Callable[[nn.Module, str], bool]:
    """What torchao asks of each module, with its name: whether it is one of these."""
    return lambda module, name: layers.get(name) is module
