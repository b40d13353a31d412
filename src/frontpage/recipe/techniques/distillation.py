"""Distillation: the probabilities of trained nets are targets, too (Hinton et al. 2015, arXiv 1503.02531)."""

import hashlib
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from frontpage.command.errors import BadValue
from frontpage.command.limits import Positive, Text
from frontpage.command.points import Course, Points
from frontpage.data.packing import TitleBatch
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.evaluation.losses import product_type
from frontpage.evaluation.soft_cap import soft_capped
from frontpage.machine.flops import forward_flops_per_token
from frontpage.recipe.plain_tensors import plain_parts
from frontpage.recipe.techniques.technique import Chunk, Moment, Reopen, Technique, Term

KEY = "model.technique.distillation.teacher"


class Distillation(Technique):
    """(1 - `weight`) of the next token's nats, and `weight` t^2 KL(P || Q) with t = `temperature`.

    Q are the probabilities of the logits divided by t, P those of the teacher in the same way, or their mean over
    several: `teacher` is a run's directory or a list of them, of which the best checkpoint is taken. Teachers read the
    whole batch, without dropout and hidden tokens, under the document mask of their own run. They are in no checkpoint:
    a run that is continued opens them again. `weight` is a number of at most 1, or a course of such. Raises ValueError.
    """

    def __init__(
        self, *, teacher: Text | list | None = None, temperature: Positive = 1.0, weight: Course = 0.5
    ) -> None:
        self.paths = [teacher] if isinstance(teacher, str) else [str(one) for one in teacher or ()]
        if not self.paths:
            raise ValueError(f"teacher={'null' if teacher is None else '[]'}: a run's directory, or a list of such")
        self.temperature, self.weight = temperature, Points.of(weight, "weight")
        self.replaced = max(self.weight.values)
        if self.replaced > 1:
            raise ValueError(f"weight={weight}: at most 1, the whole of what is descended")
        self.idle = self.weight.values[0] == 0
        self.teachers: list[Any] = []  # LanguageModules, in evaluation mode

    def connect(self, tokenizer: TitleTokenizer, block_size: int, reopen: Reopen) -> None:
        """Open the teachers; UserError for one that is no run, has other tokens or has a shorter block."""
        for path in self.paths:
            try:
                teacher = reopen(path)
            except BadValue as error:
                raise BadValue(KEY, path, error.allowed) from error if error.key == "run" else error
            if teacher.tokenizer.to_json() != tokenizer.to_json():
                raise BadValue(KEY, path, "its tokenizer is another; a run of the same titles and tokenizer.*")
            if teacher.net.block_size < block_size:
                allowed = f"its block has {teacher.net.block_size} tokens; at least data.block_size={block_size}"
                raise BadValue(KEY, path, allowed)
            self.teachers.append(teacher.requires_grad_(False))
            self.opened = (*self.opened, _digest(teacher.net))
            self.teachers_of = (*self.teachers_of, path)

    def term(self, batch: TitleBatch, moment: Moment) -> Term | None:
        """weight x (t^2 KL(P || Q) - the nats of the next token)."""
        weight, t = self.weight.at(*moment), self.temperature
        self.idle = weight == 0
        if self.idle:
            return None
        if not self.teachers:
            raise RuntimeError("connect() has opened no teacher")
        read = [_Read.of(teacher, batch) for teacher in self.teachers]

        def weighted(chunk: Chunk) -> Tensor:
            wide = chunk.log_shares.dtype
            shares = sum((one.logits(chunk.place) / t).softmax(-1, dtype=wide) for one in read) / len(read)
            own = (chunk.log_shares / t).log_softmax(-1)
            divergence = (torch.xlogy(shares, shares) - shares * own).sum(-1)
            return weight * chunk.summed(t**2 * divergence - chunk.nats)

        return weighted

    def planned(self) -> Technique:
        """The same with teachers that have sizes only; nothing before they are opened."""
        if not self.teachers:
            return Technique()
        plan = Distillation(teacher=self.paths, temperature=self.temperature, weight=self.replaced)
        plan.teachers = [_Sizes(teacher.net) for teacher in self.teachers]
        return plan

    def flops_per_token(self, block_size: int) -> float:
        """The forward pass of each teacher, where they are read."""
        if self.idle:
            return 0.0
        return sum(forward_flops_per_token(teacher.net, block_size, ("language",)) for teacher in self.teachers)


def _digest(net: nn.Module) -> str:
    """Of the weights of a net."""
    whole = hashlib.blake2b(digest_size=16)
    for name, weight in sorted(net.state_dict().items()):
        whole.update(name.encode())
        for part in plain_parts(weight):
            whole.update(part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


class _Read:
    """What a teacher's head reads of a batch, and the head."""

    def __init__(self, states: Tensor, weight: Tensor, cap: float | None) -> None:
        """states (B x T, C), weight (V, C)."""
        self.states, self.weight, self.cap = states, weight, cap

    @classmethod
    @torch.no_grad()
    def of(cls, teacher: Any, batch: TitleBatch) -> "_Read":
        """The teacher goes where the batch is; products are of the type in which a linear layer would multiply."""
        if teacher.device != batch.inputs.device:
            teacher.to(batch.inputs.device)
        states, head = teacher.hidden(batch).flatten(0, 1), teacher.language_head
        kind = product_type(states)
        return cls(states.to(kind), head.weight.to(kind), head.cap)

    @torch.no_grad()
    def logits(self, place: slice) -> Tensor:
        """(n, V)."""
        return soft_capped(self.states[place] @ self.weight.mT, self.cap)


class _Sizes:
    """A stand-in for a teacher, for the estimate of memory: its weights, its states and its head without numbers."""

    def __init__(self, net: nn.Module) -> None:
        head = net.heads["language"]
        self.held = torch.empty(sum(weight.numel() for weight in net.parameters()))
        self.language_head = SimpleNamespace(weight=torch.empty(head.weight.shape), cap=head.cap)
        self.device = self.held.device

    def hidden(self, batch: TitleBatch) -> Tensor:
        """(B, T, C)."""
        return torch.empty(*batch.inputs.shape, self.language_head.weight.shape[1])
