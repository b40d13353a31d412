"""A mode's own AdamW, which takes over the settings of `optimizer=adamw`: torchao's, saved as plain tensors."""

import functools
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from frontpage.command.limits import Amount, Positive
from frontpage.recipe.optimizers.settings import Betas
from frontpage.recipe.precision.mode import PrecisionMode
from frontpage.recipe.precision.packages import package

TAKEN = ("lr", "betas", "eps", "weight_decay")  # of optimizer=adamw; `fused` is its kernel, which is not used
TABLE = "qmap"  # of 256 numbers, the same for all states of one sign
SIGNED = {"exp_avg": True, "exp_avg_sq": False}


def adamw_settings(mode: PrecisionMode, make_optimizer: Callable[..., Optimizer]) -> dict[str, Any]:
    """What `mode` takes over of `optimizer=adamw`; UserError for another optimizer, and for amsgrad."""
    function, settings = getattr(make_optimizer, "func", make_optimizer), getattr(make_optimizer, "keywords", {})
    own = f"it brings its own AdamW, which takes {', '.join(TAKEN)} of optimizer=adamw"
    if function is not torch.optim.AdamW:
        raise mode.refusal(f"{own}; optimizer={function.__name__.lower()} contradicts it")
    if settings.get("amsgrad"):
        raise mode.refusal(f"{own}; optimizer.amsgrad=true contradicts it")
    return {name: settings[name] for name in TAKEN if name in settings}


def torchao_adamw(
    params: Iterable[Any],
    lr: Amount = 1e-3,
    betas: Betas = (0.9, 0.95),
    eps: Positive = 1e-8,
    weight_decay: Amount = 0.1,
    *,
    kind: str,
    mode: str,
) -> Optimizer:
    """`AdamW8bit` or `_AdamW` (the `kind`) of torchao 0.18, with stochastic rounding of bf16 weights."""
    base = getattr(package("torchao.optim", mode), kind)
    settings = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
    return _class_over(base)(params, bf16_stochastic_round=True, **settings)


class PlainState:
    """Mixed into torchao's optimizers: rates and decays are numbers, as schedules and logs take them; a saved state is
    plain tensors, which load without running code; the table of 8-bit numbers is held once; the CPU needs no compiler.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group whose rate stays a number."""
        Optimizer.add_param_group(self, param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """An update; compiled on CUDA alone. What `closure` sets of the groups counts."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        kept = [{name: group[name] for name in ("lr", "weight_decay")} for group in self.param_groups]
        on_cpu = self.param_groups[0]["params"][0].device.type == "cpu"
        for group in self.param_groups:
            for name in ("lr", "weight_decay"):  # a number would be compiled in, and each new one compiled anew
                group[name] = torch.tensor(group[name], dtype=torch.float32)
        try:
            with torch.compiler.set_stance("force_eager") if on_cpu else nullcontext():
                super().step()
        finally:
            for group, numbers in zip(self.param_groups, kept, strict=True):
                group.update(numbers)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state, an 8-bit average as its `codes` and their `scale`."""
        found = super().state_dict()
        return found | {"state": {index: _flat(state) for index, state in found["state"].items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        whole = {index: self._whole(state) for index, state in state_dict["state"].items()}
        super().load_state_dict(state_dict | {"state": whole})
        for state in self.state.values():
            for name in SIGNED:
                self._share_table(state.get(name), name)

    def _new_buffer(self, weight: Tensor, signed: bool) -> Tensor:
        made = super()._new_buffer(weight, signed)
        self._share_table(made, "exp_avg" if signed else "exp_avg_sq")
        return made

    def _share_table(self, state: Tensor | None, name: str) -> None:
        if hasattr(state, TABLE):
            tables = self.__dict__.setdefault("_tables", {})
            state.qmap = tables.setdefault((SIGNED[name], state.qmap.device), state.qmap)

    def _whole(self, state: dict[str, Any]) -> dict[str, Any]:
        """A weight's state as torchao has it."""
        found = {name: value for name, value in state.items() if "." not in name}
        for name in (name for name in SIGNED if f"{name}.codes" in state):
            codes, scale = state[f"{name}.codes"], state[f"{name}.scale"]
            empty = self._subclass_zeros(torch.empty(codes.shape, dtype=scale.dtype), SIGNED[name], self.block_size)
            empty.codes, empty.scale = codes, scale
            found[name] = empty
        return found


@functools.cache
def _class_over(base: type[Optimizer]) -> type[Optimizer]:
    return type(base.__name__, (PlainState, base), {})


def _flat(state: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in state.items():
        if is_traceable_wrapper_subclass(value):
            inner = (part for part in value.__tensor_flatten__()[0] if part != TABLE)
            found |= {f"{name}.{part}": getattr(value, part) for part in inner}
        else:
            found[name] = value
    return found
