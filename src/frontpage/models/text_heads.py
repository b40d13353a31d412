"""Heads that read vectors of texts, and how a text becomes a vector."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POOLINGS = ("mean", "last")


def pooled(states: Tensor, lengths: Tensor, pooling: str = "mean") -> Tensor:
    """States (R, T, C) of R texts of `lengths` (R,) -> a vector of each (R, C).

    `mean` is over the text's places, `last` the state of its last one, which has read all of it. What lies behind a
    text counts nothing.
    """
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), lengths - 1]
    real = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
    return (states * real[..., None]).sum(1) / lengths[:, None].to(states.dtype)


class PairClassifier(nn.Module):
    """A logit of two vectors, (E, 2, C) -> (E,): three linear layers with ReLU and dropout.

    It reads both vectors, and with `features="full"` their distance and their product as well.
    """

    def __init__(self, width: int, *, features: str = "both", hidden: int = 1024, dropout: float = 0.1) -> None:
        super().__init__()
        self.full = features == "full"
        self.layers = nn.Sequential(
            nn.Linear((4 if self.full else 2) * width, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden // 2),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden // 2, 1),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """(E, 2, C) -> logits (E,)."""
        vectors = F.layer_norm(vectors, vectors.shape[-1:]) if self.full else vectors
        first, second = vectors.unbind(1)
        parts = [first, second, (first - second).abs(), first * second] if self.full else [first, second]
        return self.layers(torch.cat(parts, dim=-1)).squeeze(-1)


class Projector(nn.Module):
    """Vectors in a space of their own, in which angles are compared: (..., C) -> (..., C), two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.layers(vectors)


class ScaledProjector(Projector):
    """A Projector with a factor and an offset that make a logit of a cosine: `scale` and `offset`, learned if asked."""

    def __init__(self, width: int, *, scale: float = 5.0, offset: float = 0.0, learned: bool = False) -> None:
        super().__init__(width)
        for name, value in (("scale", scale), ("offset", offset)):
            number = torch.tensor(float(value))
            if learned:
                setattr(self, name, nn.Parameter(number))
            else:
                self.register_buffer(name, number, persistent=False)
