"""Cross-entropy over the vocabulary: the training loss, and the loss of each token."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from frontpage.data.packing import IGNORED
from frontpage.evaluation.chunked_loss import ChunkedLoss, OfLogits
from frontpage.evaluation.soft_cap import soft_capped
from frontpage.machine.as_gpu import on_cpu

Head = Callable[[Tensor], Tensor]  # what the head reads (N, C) -> logits (N, V)

CHUNK_NUMBERS = {"cpu": 2**23, "gpu": 2**28}  # logits that are held at once: 32 MiB in fp32, 1 GiB on a GPU


def next_token_loss(hidden: Tensor, weight: Tensor, targets: Tensor, cap: float | None = None) -> Tensor:
    """Mean nats a target of `targets` (B, T), IGNORED left out, from `hidden` (B, T, C) and the head (V, C); a scalar.

    Zero where every target is ignored. Products are in the type of `hidden`, or of autocast. `cap` is the soft cap of
    the logits.
    """
    hidden, targets = hidden.flatten(0, 1), targets.flatten()
    if cap is None:
        rows = _rows_at_once(hidden, weight)
        total = ChunkedCrossEntropy.apply(hidden, weight, targets, product_type(hidden), rows)
    else:
        total, _ = loss_of_logits(hidden[None], weight, partial(_summed_nats, targets=targets), cap)
    return total / targets_in(targets)


def language_loss(net: nn.Module, states: Tensor, tokens: Tensor) -> Tensor:
    """The `next_token_loss` of a net's head `language`, with the tokens (B, T) themselves as targets: what it takes."""
    head = net.heads["language"]
    return next_token_loss(states, head.weight, tokens, head.cap)


def loss_of_logits(
    states: Tensor, weight: Tensor, of_logits: OfLogits, cap: float | None = None
) -> tuple[Tensor, Tensor]:
    """The sums of `of_logits` over all places of `states` (P, N, C), from logits that are softly capped by `cap`.

    The first can be differentiated, the second is a number to tell. Products are in the type of `states`, or of
    autocast, all else at least in fp32.
    """

    def of_capped(logits: Tensor, place: slice) -> tuple[Tensor, Tensor]:
        return of_logits(soft_capped(logits, cap), place)

    # Beside a chunk's logits its graph has a dozen tensors of their size: half as many at once are faster on a CPU.
    rows = _rows_at_once(states, weight, copies=2 * len(states))
    return ChunkedLoss.apply(states, weight, of_capped, product_type(states), rows)


def targets_in(targets: Tensor) -> Tensor:
    """How many targets there are, IGNORED left out, and at least 1: what a mean over them divides by."""
    return (targets != IGNORED).sum().clamp(min=1)


class ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of a linear layer whose logits are never held all at once.

    Both gradients are computed chunk by chunk in the forward pass, from logits that are computed once (the way of
    Liger Kernel, Hsu et al. 2024, arXiv 2410.10989). Products are of type `kind`, what follows them at least fp32.
    PyTorch 2.13 has `F.linear_cross_entropy` for fp32; it was slower at every size that was tried (docs/log.md).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, kind: torch.dtype, rows: int) -> Tensor:
        """hidden (N, C), weight (V, C), targets (N,), IGNORED or below V -> nats, a scalar; `rows` of N at once."""
        wide = torch.promote_types(kind, torch.float32)
        scored = (targets != IGNORED)[:, None]
        with torch.autocast(hidden.device.type, enabled=False):
            read, head, known = hidden.to(kind) * scored, weight.to(kind), targets[:, None].where(scored, 0)
            d_hidden, d_weight = torch.empty_like(read), torch.zeros_like(weight, dtype=wide)
            nats = hidden.new_zeros((), dtype=wide)
            for place in (slice(start, start + rows) for start in range(0, len(read), rows)):
                logits = read[place] @ head.mT
                shares = logits.softmax(-1, dtype=wide)
                # The largest share is at least 1 / V, so that its logarithm is always there and precise.
                log_sum = logits.amax(-1, keepdim=True).to(wide) - shares.amax(-1, keepdim=True).log()
                nats += ((log_sum - logits.gather(1, known[place]).to(wide)) * scored[place]).sum()
                d_logits = shares.scatter_add_(1, known[place], shares.new_full(known[place].shape, -1.0)).to(kind)
                torch.mm(d_logits, head, out=d_hidden[place])
                if kind == wide:
                    d_weight.addmm_(d_logits.mT, read[place])
                else:
                    d_weight += d_logits.mT @ read[place]
            d_hidden *= scored
        ctx.save_for_backward(d_hidden, d_weight)
        ctx.types = hidden.dtype, weight.dtype
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_nats: Tensor) -> tuple[Tensor | None, ...]:
        """What was computed forward, times the gradient of the sum."""
        d_hidden, d_weight = ctx.saved_tensors
        to_hidden, to_weight = ctx.types
        return (d_hidden * d_nats).to(to_hidden), (d_weight * d_nats).to(to_weight), None, None, None


@torch.no_grad()
def token_losses(hidden: Tensor, head: Head, targets: Tensor, chunk: int = 2048) -> Tensor:
    """Nats of each of N `targets` (N,) from `hidden` (N, C) and the head that gives logits, at least in fp32: (N,)."""
    parts = [
        F.cross_entropy(_wide(head(rows)), wanted, reduction="none")
        for rows, wanted in zip(hidden.split(chunk), targets.split(chunk), strict=True)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0)


def product_type(x: Tensor) -> torch.dtype:
    """The type in which a linear layer would multiply here."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype


def _rows_at_once(hidden: Tensor, weight: Tensor, copies: int = 1) -> int:
    """How many rows of `hidden` have as many logits, `copies` times, as are held at once."""
    return max(CHUNK_NUMBERS["cpu" if on_cpu(hidden.device) else "gpu"] // (len(weight) * copies), 1)


def _summed_nats(logits: Tensor, place: slice, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of the next token, of one pass (1, n, V)."""
    nats = F.cross_entropy(logits[0], targets[place], ignore_index=IGNORED, reduction="sum")
    return nats, nats


def _wide(tensor: Tensor) -> Tensor:
    """The tensor in fp32, or in fp64 where it is that already."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
