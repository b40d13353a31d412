"""Layout: an architecture that other programs know - what it can hold, its config, the names of its weights."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from frontpage.command.errors import BadValue
from frontpage.export.traits import Traits

Held = Mapping[str, tuple[Any, ...]]  # values of a trait that can be held, by its name; unnamed ones can be anything


class OwnWeights:
    """The weights of a net under our names, each to be taken once, so that none is forgotten."""

    def __init__(self, net: nn.Module, tied: bool) -> None:
        self.left = {name: weight.detach().float().cpu() for name, weight in net.state_dict().items()}
        if tied:
            del self.left["head.weight"]

    def take(self, name: str) -> Tensor:
        """One weight."""
        return self.left.pop(name)

    def take_pair(self, name: str, zeros: bool = False) -> dict[str, Tensor]:
        """`weight` and, where there is one, `bias` of a layer; with `zeros` a bias in any case."""
        pair = {"weight": self.take(f"{name}.weight")}
        if f"{name}.bias" in self.left:
            pair["bias"] = self.take(f"{name}.bias")
        elif zeros:
            pair["bias"] = pair["weight"].new_zeros(len(pair["weight"]))
        return pair


@dataclass(frozen=True)
class Layout:
    """`name` is transformers' `model_type`, `architecture` its class; `holds` says which traits are computed exactly.

    `config(traits)` gives the keys of config.json that are its own, `weights(own, traits)` its weights by its names.
    """

    name: str
    architecture: str
    holds: Held
    config: Callable[[Traits], dict[str, Any]]
    weights: Callable[[OwnWeights, Traits], dict[str, Tensor]]

    def convert(self, net: nn.Module, traits: Traits) -> dict[str, Tensor]:
        """The net's weights in fp32 under this layout's names; RuntimeError where one has no place in it."""
        own = OwnWeights(net, traits.tie_embeddings)
        if traits.logit_scale != 1:  # of nets without a bias there: the gain takes it
            own.left["final_norm.weight"] = own.left["final_norm.weight"] * traits.logit_scale
        weights = self.weights(own, traits)
        if own.left:
            raise RuntimeError(f"{self.name} has no place for {' '.join(own.left)}")
        return {name: weight.contiguous() for name, weight in weights.items()}

    def restricted(self, holds: Held) -> "Layout":
        """The same for a program that computes less of it."""
        return dataclasses.replace(self, holds={**self.holds, **holds})


def choose(traits: Traits, layouts: Sequence[Layout], attention: str, program: str) -> Layout:
    """The first layout that holds all traits; a UserError says what keeps the nearest one from it.

    `attention` is the config's name of it, `program` who knows the layouts.
    """
    misfits = [[key for key, held in one.holds.items() if getattr(traits, key) not in held] for one in layouts]
    layout, misfit = min(zip(layouts, misfits, strict=True), key=lambda pair: len(pair[1]))
    if not misfit:
        return layout
    key = misfit[0]
    value, held = getattr(traits, key), " or ".join(str(value).lower() for value in layout.holds[key])
    spelled = attention if key == "attention" else value
    rest = f" (and {', '.join(f'model.{other}' for other in misfit[1:])})" * (len(misfit) > 1)
    raise BadValue(
        f"model.{key}",
        spelled,
        f"{program} has no architecture that computes it with the rest of this model;"
        f" the nearest, {layout.name}, has {held} there{rest}. --format safetensors keeps it under our own names",
    )
