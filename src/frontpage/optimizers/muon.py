"""Muon: orthogonal updates for the matrices inside the net, AdamW for all else, as one optimizer."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch.optim import Optimizer

from frontpage.optim import MATRICES


class Muon(Optimizer):
    """`torch.optim.Muon` for the group named `matrices`, `torch.optim.AdamW` for the others (see `decay_groups`).

    Jordan et al. 2024, kellerjordan.github.io/posts/muon; `adjust_lr_fn` `match_rms_adamw` is Liu et al. 2025, arXiv
    2502.16982: AdamW's learning rate and decay carry over. `original` is Jordan's, whose rates are some 20 times
    higher: then set `adamw_lr`, the rate of AdamW (None: `lr`). Queries, keys and values that lie in one matrix are
    made orthogonal together. Raises ValueError without a group of that name.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        adjust_lr_fn: Literal["match_rms_adamw", "original"] = "match_rms_adamw",
        weight_decay: float = 0.1,
        adamw_lr: float | None = None,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        fused: bool | None = None,
    ) -> None:
        groups = list(params)
        matrices = [group for group in groups if _is_matrices(group)]
        if not matrices:
            raise ValueError(f"params: parameter groups, one of them named {MATRICES}, as decay_groups makes them")
        self._muon = torch.optim.Muon(
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
        super().__init__(groups, {})  # groups that the two above have completed with their settings

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of both; returns what `closure` does."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for part, takes_matrices in ((self._muon, True), (self._adamw, False)):
            # Anew each time: a loaded checkpoint replaces groups and state.
            part.param_groups = [group for group in self.param_groups if _is_matrices(group) == takes_matrices]
            part.state = self.state
            part.step()
        return loss


def _is_matrices(group: dict[str, Any]) -> bool:
    return group.get("name") == MATRICES
