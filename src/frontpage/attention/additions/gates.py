"""Gates: a factor for each head and token, made from the first numbers of what a layer reads."""

import torch
from torch import Tensor, nn


class Gates(nn.Module):
    """sigmoid(W x[..., :`width`]) for each of `heads`; W starts at 0, so a gate at 1/2.

    W is a linear layer as any other of the trunk: it decays towards 1/2, and Muon takes it as a matrix, whose updates
    are then as large for every head. ValueError, under the key of the addition `name`, where `d_model` is narrower.
    """

    def __init__(self, name: str, d_model: int, width: int, heads: int) -> None:
        super().__init__()
        if width > d_model:
            raise ValueError(f"addition.{name}.gate_width={width}: at most {d_model}, the width of a layer")
        self.linear = nn.Linear(width, heads, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, heads, T, 1)."""
        gates = torch.sigmoid(self.linear(x[..., : self.linear.in_features]))
        return gates.transpose(1, 2).unsqueeze(-1)
