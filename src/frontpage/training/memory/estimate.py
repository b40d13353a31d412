"""What a model needs in memory: a training step by its parts, the largest batch that fits, and generation.

The step is run on tensors without numbers (`fake_step`), so a new attention or architecture is counted like any other.
Checked against the closed formula for plain Transformers (bytes a token and layer) in tests/training/test_memory.py.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from frontpage.data.packing import IGNORED
from frontpage.evaluation.losses import language_loss, next_token_loss
from frontpage.machine.as_gpu import as_on_card
from frontpage.machine.peak_memory import GIB
from frontpage.models.language_head import LanguageHead
from frontpage.recipe.live_bytes import StaticBytes
from frontpage.recipe.optimizer_memory import optimizer_bytes, update_bytes
from frontpage.recipe.precision.mode import PrecisionMode
from frontpage.training.memory.fake_step import FakeStep, Loss, dtypes_of, fake_step

CUDA_CONTEXT = int(0.6 * GIB)  # context and library workspaces
MOST_TOKENS = 2**19  # of a batch; from twice as many on, memory grows in proportion
CUDA_SLACK = 0.07  # of the allocator's blocks: lost between tensors


class LayerMemory(NamedTuple):
    """A block of the net, or its ends (embeddings, positions, final norm, head)."""

    name: str
    width: int
    parameters: int
    saved: int  # bytes kept for the backward pass, without activation checkpointing
    checkpointed: int  # bytes kept with it: the block's input


class TrainingMemory(NamedTuple):
    """Bytes that training takes; `total` is the estimate of the peak."""

    weights: int
    gradients: int
    optimizer: int  # its state
    buffers: int
    step: int  # the peak of forward and backward pass, new gradients among them
    update: int  # temporaries of the optimizer
    total: int

    @property
    def static(self) -> StaticBytes:
        """What does not depend on the batch."""
        return StaticBytes(self.weights, self.gradients, self.optimizer)

    def spread(self, processes: int, net: nn.Module) -> "TrainingMemory":
        """The same of each of several processes that share weights, gradients and optimizer state by rows (FSDP2).

        Each gathers the weights outside the blocks and those of two blocks at a time, the next one being on its way,
        and has their gradients before they are summed. Not checked against a GPU.
        """
        if processes == 1:
            return self
        parameters = sum(weight.numel() for weight in net.parameters())
        blocks = [sum(weight.numel() for weight in block.parameters()) for block in net.blocks]
        gathered = (parameters - sum(blocks) + sum(sorted(blocks)[-2:])) / parameters
        kept = [size // processes for size in (self.weights, self.gradients, self.optimizer)]
        added = sum(kept) - self.weights - self.gradients - self.optimizer
        total = self.total + added + int(gathered * (self.weights + self.gradients))
        step = self.step - self.gradients + int(gathered * self.gradients)
        return TrainingMemory(*kept, self.buffers, step, self.update // processes, total)

    def copied(self, processes: int) -> "TrainingMemory":
        """The same of each of several processes that have a copy each (DDP), which keeps gradients twice.

        They lie in its buckets, too: `gradient_as_bucket_view` of PyTorch's DistributedDataParallel is not set.
        """
        return self._replace(total=self.total + self.gradients) if processes > 1 else self

    def on_card(self) -> int:
        """The total as a CUDA device sees it: with its context, and what falls between the allocator's blocks."""
        return int(self.total * (1 + CUDA_SLACK)) + CUDA_CONTEXT


class StepMemory(NamedTuple):
    """Where the bytes of forward and backward pass go."""

    layers: list[LayerMemory]
    casts: int  # half-precision copies of weights, under mixed precision; among the layers' bytes
    chunked_loss: int  # what the loss holds at its peak, with the logits of a chunk at a time
    plain_loss: int  # with all logits at once


def estimate_training(
    net: nn.Module,
    make_optimizer: Callable[..., Optimizer],
    batch_size: int,
    block_size: int,
    *,
    precision: str = "32-true",
    document_mask: bool = True,
    card: bool = False,
    loss: Loss = language_loss,
    passes: int = 1,
    mode: PrecisionMode | None = None,
) -> TrainingMemory:
    """Memory of training `net` on micro-batches of `batch_size` x `block_size` tokens in Lightning's `precision`.

    `make_optimizer(parameter_groups)` is called on stand-ins of a few weights. No weight of `net` is touched; it may be
    on the meta device, which is traced as the CPU. `card`: as a CUDA device would compute, wherever the net is. `loss`
    is the module's `planned_loss`, and each row goes `passes` times through the net. `mode` says how the weights are
    kept; what its layers hold in a step is counted as if they were as built. A large batch is on the line through two
    smaller ones, so that it takes no longer.
    Raises RuntimeError or NotImplementedError where a layer needs numbers to run.
    """
    settings = {"precision": precision, "document_mask": document_mask, "card": card, "loss": loss, "mode": mode}
    settings["passes"] = passes
    rows = max(MOST_TOKENS // (block_size * passes), 1)
    batches = [batch_size] if batch_size <= 2 * rows else [rows, 2 * rows]
    found = [_estimate(net, make_optimizer, batch, block_size, **settings) for batch in batches]
    return TrainingMemory(
        *(low + (high - low) * (batch_size - batches[0]) // rows for low, high in zip(found[0], found[-1], strict=True))
    )


def _estimate(
    net: nn.Module,
    make_optimizer: Callable[..., Optimizer],
    batch_size: int,
    block_size: int,
    *,
    precision: str,
    document_mask: bool,
    card: bool,
    loss: Loss,
    passes: int,
    mode: PrecisionMode | None,
) -> TrainingMemory:
    dtype, on_cuda = dtypes_of(precision).weights, card or next(net.parameters()).device.type == "cuda"
    sizes = {"precision": precision, "document_mask": document_mask}
    with as_on_card() if card else nullcontext():
        step = fake_step(net, loss, batch_size * passes, block_size, **sizes)
    gradients = sum(weight.numel() for weight in net.parameters()) * dtype.itemsize
    weights = gradients if mode is None else mode.weight_bytes(net, dtype)
    state = optimizer_bytes(net, make_optimizer, dtype)
    update = update_bytes(net, make_optimizer, dtype.itemsize, on_cuda)
    # The last update's gradients live until the backward pass begins.
    peak = max(gradients + step.forward_peak, step.peak, gradients + update)
    return TrainingMemory(
        weights, gradients, state, step.buffers, step.peak, update, weights + step.buffers + state + peak
    )


def explain_step(
    net: nn.Module, batch_size: int, block_size: int, *, precision: str = "32-true", document_mask: bool = True
) -> StepMemory:
    """What each layer keeps for the backward pass, with and without activation checkpointing, and both losses' logits.

    Raises as `estimate_training`.
    """
    sizes = {"precision": precision, "document_mask": document_mask}
    step = fake_step(net, language_loss, batch_size, block_size, **sizes, checkpointing=False)
    head = net.heads["language"].weight.shape
    hidden = (batch_size, block_size, head[1])
    losses = [_loss_bytes(loss, hidden, head, precision) for loss in (next_token_loss, plain_loss)]
    return StepMemory(_layers(net, step, batch_size * block_size, precision), step.casts, *losses)


def largest_batch(estimate: Callable[[int], int], limit: int, most: int = 2**20) -> int:
    """The largest batch up to `most` for which `estimate(batch)` is at most `limit`; 0 where not even 1 is.

    The estimate must grow with the batch. It is asked where the line through its two values nearest to the limit meets
    it. After a question next to a known answer, it is twice the largest batch that fits, or the middle between that and
    the smallest that does not.
    """
    fits, fails = 0, most + 1
    known: dict[int, int] = {}
    guess, by_line = min(64, most), True
    while fails - fits > 1:
        by_line = min(guess - fits, fails - guess) > 1 or not by_line
        known[guess] = estimate(guess)
        fits, fails = (guess, fails) if known[guess] <= limit else (fits, guess)
        first, *others = sorted(known, key=lambda batch: abs(known[batch] - limit))
        slope = (known[first] - known[others[0]]) / (first - others[0]) if others else known[first] / first
        if by_line and slope > 0:
            guess = first + int((limit - known[first]) / slope)
        else:
            guess = (fits + fails) // 2 if fails in known else 2 * fits
        guess = max(fits + 1, min(guess, fails - 1))
    return fits


def generation_bytes(net: nn.Module, batch_size: int, length: int, number_bytes: int = 4) -> tuple[int, int]:
    """(weights, caches) in bytes, of generating `batch_size` titles of up to `length` tokens."""
    weights = sum(weight.numel() for weight in net.parameters()) * number_bytes
    return weights, net.cache_numbers(length) * batch_size * number_bytes


def plain_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The training loss with all logits at once, for comparison: the mean nats a target."""
    logits = F.linear(hidden, weight).flatten(0, 1).float()
    return F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED)


def _layers(net: nn.Module, step: FakeStep, tokens: int, precision: str) -> list[LayerMemory]:
    number = dtypes_of(precision).weights.itemsize  # autocast leaves the residual stream in the dtype of weights
    layers, inside = [], 0
    for index, (block, width) in enumerate(zip(net.blocks, net.widths, strict=True)):
        parameters = sum(weight.numel() for weight in block.parameters())
        saved = step.saved.get(f"block {index}", 0)
        layers.append(LayerMemory(f"block {index}", width, parameters, saved, tokens * width * number))
        inside += parameters
    outside = sum(weight.numel() for weight in net.parameters()) - inside
    ends = step.saved.get("ends", 0)
    return [*layers, LayerMemory("ends", net.widths[0], outside, ends, ends)]


class _LossOnly(nn.Module):
    """What a net looks like to `fake_step` when only its loss is of interest."""

    def __init__(self, hidden: Sequence[int], head: Sequence[int]) -> None:
        super().__init__()
        self.states, self.blocks = nn.Parameter(torch.empty(hidden, device="meta")), nn.ModuleList()
        self.heads = nn.ModuleDict({"language": LanguageHead(head[1], head[0]).to("meta")})

    def hidden(self, tokens: Tensor) -> Tensor:
        """The states, whatever the tokens."""
        return self.states


def _loss_bytes(loss: Callable[..., Tensor], hidden: Sequence[int], head: Sequence[int], precision: str) -> int:
    """The peak of a loss and its backward pass, the gradients of the states and the head among it."""

    def of_the_head(net: nn.Module, states: Tensor, tokens: Tensor) -> Tensor:
        return loss(states, net.heads["language"].weight, tokens)

    return fake_step(_LossOnly(hidden, head), of_the_head, *hidden[:2], precision=precision, document_mask=False).peak
