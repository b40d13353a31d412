"""Muon: orthogonal updates for the matrices inside the net, AdamW for all else, as one optimizer."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from frontpage.command.limits import Amount, Between, Positive, ShareBelow1
from frontpage.command.notices import notice
from frontpage.machine.precision import best_precision
from frontpage.recipe.optimizers.settings import Betas, Decay
from frontpage.recipe.parameter_groups import MATRICES
from frontpage.recipe.sharded_tensors import is_sharded, own_part, placed_like, whole

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, Jordan et al. 2024
SMALLEST_NORM = 1e-7


class Muon(Optimizer):
    """What `torch.optim.Muon` does for the group named `matrices`, `torch.optim.AdamW` for the others (`decay_groups`).

    Jordan et al. 2024, kellerjordan.github.io/posts/muon; `adjust_lr_fn` `match_rms_adamw` is Liu et al. 2025, arXiv
    2502.16982: AdamW's learning rate and decay carry over. `original` is Jordan's, whose rates are some 20 times
    higher: then set `adamw_lr`, the rate of AdamW (None: `lr`).

    With `split_fused` the matrices that lie in one weight (queries, keys, values; gate, up) are updated as if each had
    a weight of its own; their rows are `fused_rows`, which `optimizer_of` sets. With `equalise_rows` each row of the
    direction is divided by its norm before it is made orthogonal: MuonEq-R, arXiv 2603.28254.

    PyTorch's iteration is in bf16 always, which many CPUs compute a hundred times slower than fp32; `iteration="auto"`
    is bf16 where that is fast, else fp32: chosen at the first step, said, and kept in the group as `iteration`, so that
    a run that is continued keeps it. Raises ValueError without a group of that name.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: Amount = 1e-3,
        momentum: ShareBelow1 = 0.95,
        nesterov: bool = True,
        ns_steps: Annotated[int, Between(1, 99)] = 5,
        adjust_lr_fn: Literal["match_rms_adamw", "original"] = "match_rms_adamw",
        split_fused: bool = False,
        equalise_rows: bool = False,
        iteration: Literal["auto", "float32", "bfloat16"] = "auto",
        weight_decay: Decay = 0.1,
        adamw_lr: Amount | None = None,
        betas: Betas = (0.9, 0.95),
        eps: Positive = 1e-8,
        fused: bool | None = None,
    ) -> None:
        groups = list(params)
        matrices = [group for group in groups if _is_matrices(group)]
        if not matrices:
            raise ValueError(f"params: parameter groups, one of them named {MATRICES}, as decay_groups makes them")
        torch.optim.Muon(  # completes the group with its settings, and refuses what it cannot take
            matrices,
            lr=lr,
            momentum=momentum,
            nesterov=nesterov,
            ns_steps=ns_steps,
            adjust_lr_fn=adjust_lr_fn,
            weight_decay=weight_decay,
        )
        self._adamw = torch.optim.AdamW(
            [group for group in groups if not _is_matrices(group)],
            lr=lr if adamw_lr is None else adamw_lr,
            betas=tuple(betas),
            eps=eps,
            weight_decay=weight_decay,
            fused=fused,
        )
        super().__init__(groups, {})  # groups that the two above have completed
        self.split_fused, self.equalise_rows, self.iteration = split_fused, equalise_rows, iteration
        self.fused_rows: dict[Tensor, tuple[int, ...]] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of both; returns what `closure` does."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            if _is_matrices(group):
                self._update(group)
        # Anew each time: a loaded checkpoint replaces groups and state.
        self._adamw.param_groups = [group for group in self.param_groups if not _is_matrices(group)]
        self._adamw.state = self.state
        self._adamw.step()
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        """One update of the matrices, as torch.optim.Muon makes it."""
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if weights and "iteration" not in group:
            fixed = self.iteration != "auto"
            group["iteration"] = self.iteration if fixed else fast_iteration(weights[0].device)
        for weight in weights:
            gradient, state = weight.grad, self.state[weight]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(gradient, memory_format=torch.preserve_format)
            mean = state["momentum_buffer"]
            own_part(mean).lerp_(own_part(gradient), 1 - group["momentum"])
            direction = gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean
            own_part(weight).mul_(1 - group["lr"] * group["weight_decay"])
            rows = self.fused_rows.get(weight, (len(weight),))
            if is_sharded(weight):  # each process makes the whole step, and takes its rows of it
                step = torch.zeros(weight.shape, dtype=weight.dtype, device=weight.device)
                self._turn(step, whole(direction), rows, group)
                own_part(weight).add_(own_part(placed_like(step, weight)))
            else:
                self._turn(weight, direction, rows, group)

    def _turn(self, weight: Tensor, direction: Tensor, rows: Sequence[int], group: dict[str, Any]) -> None:
        """Move the matrices in a weight, each of which has some `rows` of it, along the directions in another."""
        for part, its_direction in zip(weight.split(rows), direction.split(rows), strict=True):
            self._turn_one(part, its_direction, group)

    def _turn_one(self, matrix: Tensor, direction: Tensor, group: dict[str, Any]) -> None:
        """Move a matrix along the orthogonal one nearest to a direction."""
        if self.equalise_rows:
            direction = F.normalize(direction.float(), dim=1)  # a row shorter than 1e-12 is divided by that
        step = orthogonal(direction, group["ns_steps"], getattr(torch, group["iteration"]))
        matrix.add_(step, alpha=-group["lr"] * _rate_factor(group["adjust_lr_fn"], *matrix.shape))


def fast_iteration(device: torch.device) -> str:
    """`bfloat16` where a device multiplies fast in it, else `float32`; a notice says so."""
    precision, why = best_precision(device.type)
    kind = "bfloat16" if precision == "bf16-mixed" else "float32"
    notice(f"optimizer=muon: its iteration is computed in {kind}, since {why}")
    return kind


def orthogonal(matrix: Tensor, steps: int, kind: torch.dtype) -> Tensor:
    """The orthogonal matrix nearest to (M, N), its singular values brought near 1 by `steps` of Newton-Schulz."""
    a, b, c = COEFFICIENTS
    x = matrix.to(kind)
    x = x.mT if len(x) > x.shape[1] else x
    x = x / x.norm().clamp(min=SMALLEST_NORM)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if len(matrix) > matrix.shape[1] else x


def _rate_factor(rule: str, rows: int, columns: int) -> float:
    """What the learning rate of a matrix is multiplied by."""
    return 0.2 * math.sqrt(max(rows, columns)) if rule == "match_rms_adamw" else math.sqrt(max(1, rows / columns))


def _is_matrices(group: dict[str, Any]) -> bool:
    return group.get("name") == MATRICES
