"""Heads that read vectors of texts, and how a text becomes a vector."""

import torch
from torch import Tensor, nn

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


class Centred(nn.BatchNorm1d):
    """Takes from vectors (..., C) what all of a micro-batch have in common, and gives each number the same spread.

    The states of a language model point in one direction, so that the vectors of any two texts have a cosine near 1
    and hardly differ for a head that begins. In evaluation the running means of training stand for the micro-batch's.
    It is a batch normalisation without weights (Ioffe and Szegedy 2015), as heads of contrastive learning have it.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return super().forward(vectors.flatten(0, -2)).view(vectors.shape)


class PairClassifier(nn.Module):
    """A logit of two vectors, (E, 2, C) -> (E,): three linear layers with ReLU and dropout.

    It reads both vectors, `centred` or as they are, and with `features="full"` their distance and product as well.
    """

    texts_read = 2  # by each of its products

    def __init__(
        self,
        width: int,
        *,
        features: str = "both",
        hidden: int = 1024,
        dropout: float = 0.1,
        centred: bool = False,
    ) -> None:
        super().__init__()
        self.full = features == "full"
        self.centre = Centred(width) if centred else nn.Identity()
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
        first, second = self.centre(vectors).unbind(1)
        parts = [first, second, (first - second).abs(), first * second] if self.full else [first, second]
        return self.layers(torch.cat(parts, dim=-1)).squeeze(-1)


class Projector(nn.Module):
    """Vectors, `centred` or as they are, in a space in which angles are compared: (..., C) -> (..., C), two layers."""

    texts_read = 1  # by each of its products

    def __init__(self, width: int, *, centred: bool = False) -> None:
        super().__init__()
        self.centre = Centred(width) if centred else nn.Identity()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.layers(self.centre(vectors))


class ScaledProjector(Projector):
    """A Projector with a factor and an offset that make a logit of a cosine: `scale` and `offset`, learned if asked."""

    def __init__(
        self, width: int, *, scale: float = 5.0, offset: float = 0.0, learned: bool = False, centred: bool = False
    ) -> None:
        super().__init__(width, centred=centred)
        for name, value in (("scale", scale), ("offset", offset)):
            number = torch.tensor(float(value))
            if learned:
                setattr(self, name, nn.Parameter(number))
            else:
                self.register_buffer(name, number, persistent=False)
