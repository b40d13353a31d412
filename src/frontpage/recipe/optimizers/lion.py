"""Lion: the sign of a momentum."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from frontpage.command.limits import Amount
from frontpage.recipe.optimizers.settings import Betas, Decay


class Lion(Optimizer):
    """Steps of one size, the sign of a mean of gradient and momentum (Chen et al. 2023, arXiv 2302.06675, algorithm 2).

    `betas`: of the mean, and of the momentum that is kept, one number a weight. The decay is decoupled, as AdamW's;
    their advice: a learning rate 3 to 10 times lower than AdamW's, and a decay higher by as much. Raises ValueError.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Amount = 1e-4,
        betas: Betas = (0.9, 0.99),
        weight_decay: Decay = 0.0,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if value < 0:
                raise ValueError(f"{name}={value}: at least 0")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas={betas}: each from 0 to below 1")
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; returns what `closure` does."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group["lr"], group["betas"], group["weight_decay"])
        return loss

    def _update(
        self, weight: Tensor, gradient: Tensor, lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        state = self.state[weight]
        if not state:
            state["exp_avg"] = torch.zeros_like(weight)
        momentum = state["exp_avg"]
        direction = momentum.lerp(gradient, 1 - betas[0]).sign_()
        weight.mul_(1 - lr * weight_decay).sub_(direction, alpha=lr)
        momentum.lerp_(gradient, 1 - betas[1])
