"""DeepNet's constants and initial weights (Wang et al. 2022, "DeepNet", arXiv 2203.00555)."""

import torch
from torch import nn


def deepnet_constants(n_layer: int) -> tuple[float, float]:
    """DeepNet's (alpha, beta) for a decoder of `n_layer` blocks: (2 M)^(1/4) and (8 M)^(-1/4) (its table 1)."""
    return (2 * n_layer) ** 0.25, (8 * n_layer) ** -0.25


@torch.no_grad()
def initialise_deepnorm(blocks: nn.ModuleList, beta: float, scale_gate: bool) -> None:
    """Xavier-normal weights for the blocks, each matrix by its own sides: with gain `beta` what adds to the stream.

    That is values, attention output, up and down; queries, keys and everything else have gain 1. The paper's MLP has
    two matrices. A third one, the gate, has gain 1, so that the branch shrinks by beta squared as in the paper, or
    `beta` as well (`scale_gate`).
    """
    of_mlp = {"up", "down", "gate"} if scale_gate else {"up", "down"}
    for block in blocks:
        for part, scaled in ((block.attention, {"value", "out"}), (block.mlp, of_mlp)):
            for name, weight in part.matrices().items():
                nn.init.xavier_normal_(weight, gain=beta if name in scaled else 1.0)
