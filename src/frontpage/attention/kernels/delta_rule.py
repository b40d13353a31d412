"""The gated delta rule (Yang et al. 2024, "Gated Delta Networks", arXiv 2412.06464), step by step and in chunks.

Shapes: q (B, H, T, D); k (B, Hkv, T, D) and v (B, Hkv, T, E), each shared by H / Hkv heads of q; `log_decay` and
`log_write`, the logarithms of the paper's alpha and beta, (B, Hkv, T); the state (B, Hkv, D, E). Keys have length 1.
"""

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from frontpage.attention.parts.documents import once, opens

LEAST_LOG_DECAY = -50.0  # of a token: exp of it is nothing beside 1 even in fp64, and sums of it stay precise in fp32
LEAST_LOG = -80.0  # below, exp gives denormal numbers in fp32, which are a hundred times slower on CPU


def recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    log_write: Tensor,
    *,
    document_ids: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """o (B, H, T, E) and the last state; the paper's section 3.1, one token after the other: the reference.

    S_t = alpha_t (I - beta_t k_t k_t') S_{t-1} + beta_t k_t v_t', o_t = S_t' q_t, and S = 0 before a document.
    """
    decay, write, heads = log_decay.exp()[..., None, None], log_write.exp()[..., None], k.shape[1]
    state = k.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1]) if state is None else state
    begins = None if document_ids is None else opens(document_ids)[:, None, :, None, None]
    outputs = []
    with _full_precision(q.device):
        for t in range(k.shape[2]):
            state = decay[:, :, t] * state
            if begins is not None:
                state = state.masked_fill(begins[:, :, t], 0.0)
            key = k[:, :, t, :, None]  # (B, Hkv, D, 1)
            change = write[:, :, t] * (v[:, :, t] - (key * state).sum(-2))
            state = state + key * change[..., None, :]
            outputs.append(q[:, :, t].unflatten(1, (heads, -1)) @ state)
    return torch.stack(outputs, dim=3).flatten(1, 2), state


def chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    log_write: Tensor,
    *,
    chunk: int,
    document_ids: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What `recurrent` gives, `chunk` tokens at once (section 3.3): few steps in time, of products of small matrices.

    Takes neither decays nor writes above 1, as `recurrent` would.
    """
    batch, heads, time, _ = k.shape
    chunk = min(chunk, time)
    rest = -time % chunk
    if rest:  # zero keys write nothing, and a decay of exp(0) forgets nothing
        q, k, v = (F.pad(part, (0, 0, 0, rest)) for part in (q, k, v))
        log_decay, log_write = F.pad(log_decay, (0, rest)), F.pad(log_write, (0, rest))
    # Chunks first, so that each is contiguous: q (chunks, M, groups * C, D), M = B * Hkv, the rest (chunks, M, C, .).
    q = q.unflatten(2, (-1, chunk)).unflatten(1, (heads, -1)).permute(3, 0, 1, 2, 4, 5).flatten(1, 2).flatten(2, 3)
    k, v, log_decay, log_write = (
        part.unflatten(2, (-1, chunk)).flatten(0, 1).transpose(0, 1) for part in (k, v, log_decay, log_write)
    )
    state = k.new_zeros(batch * heads, k.shape[-1], v.shape[-1]) if state is None else state.flatten(0, 1)
    log_decay = log_decay.clamp(min=LEAST_LOG_DECAY)
    o, state = _Chunks.apply(q, k, v, log_decay, log_write, state, *_sight(k, batch, document_ids))
    o = o.unflatten(2, (-1, chunk)).unflatten(1, (batch, heads)).permute(1, 2, 3, 0, 4, 5)
    return o.flatten(3, 4).flatten(1, 2)[:, :, :time], state.unflatten(0, (batch, heads))


class _Sight(NamedTuple):
    """What tokens see inside chunks, 1 or 0; without documents the same for all rows and chunks, (1, 1, ...)."""

    pairs: Tensor  # (chunks, M, C, C): the row's token sees the column's
    carried: Tensor  # (chunks, M, C): it sees the state before its chunk
    forgotten: Tensor  # (chunks, M, C, C): the decay of the column's token acts on what the row's token sees


def _sight(k: Tensor, batch: int, document_ids: Tensor | None) -> _Sight:
    """For keys (chunks, M, C, D)."""
    chunks, rows, chunk, _ = k.shape
    causal = k.new_ones(1, 1, chunk, chunk).tril()
    if document_ids is None:
        return _Sight(causal, k.new_ones(1, 1, chunk), causal)

    def build() -> _Sight:
        begins = F.pad(opens(document_ids), (0, chunks * chunk - document_ids.shape[1]))
        begins = begins.unflatten(1, (chunks, chunk)).transpose(0, 1).repeat_interleave(rows // batch, dim=1)
        begun = begins.cumsum(-1)  # documents since the chunk's beginning
        pairs = causal * (begun[..., :, None] == begun[..., None, :])
        return _Sight(pairs, (begun == 0).to(k.dtype), pairs * ~begins[..., None, :])

    return once(document_ids, ("delta rule", chunk, rows // batch, k.dtype), build)


class _Chunks(torch.autograd.Function):
    """The chunked form, its gradient by hand: all chunks at once, but for the state that goes from one to the next.

    In a chunk, with G the decay from its beginning, L[t, s] = beta_s G_t / G_s for s <= t, and S the state before it:
    R = (I + strictly lower (L * K K'))^-1, Z = R (V - G K S), where beta_t Z_t is what token t changes under its key;
    O = G Q S + (L * Q K') Z, and the next state is G_last S + E' Z with E = L_last K. Keys read as queries do, so they
    are one more group of the same rows, X = [Q; K].
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        log_decay: Tensor,
        log_write: Tensor,
        state: Tensor,
        pairs: Tensor,
        carried: Tensor,
        forgotten: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """q (chunks, M, groups * C, D), k and v (chunks, M, C, D or E), state (M, D, E) -> (as q with E), (M, D, E)."""
        with _full_precision(q.device):
            decay, rows = log_decay.cumsum(-1), q.shape[2]
            start = decay.clamp(min=LEAST_LOG).exp_().mul_(carried)[..., None]  # G where the state before is seen
            # Where the row's token is the earlier one, exp of the difference could be infinite, and 0 times it NaN.
            mixing = (decay[..., :, None] - (decay - log_write)[..., None, :]).clamp_(LEAST_LOG, 0).exp_().mul_(pairs)
            x = torch.cat((q, k), dim=2)
            k = x[:, :, rows:]
            scores = _times(x @ k.mT, mixing)
            started = (x.unflatten(2, (-1, k.shape[2])) * start[:, :, None]).flatten(2, 3)  # G Q and, last, G K
            inverse = _inverse(scores[:, :, rows:])
            keys, read = mixing[:, :, -1, :, None] * k, started[:, :, rows:]  # E and G K
            states, new = state.new_empty(len(k) + 1, *state.shape), v.new_empty(v.shape)
            states[0] = state
            for place, (before, after) in enumerate(pairwise(states)):
                torch.bmm(inverse[place], torch.baddbmm(v[place], read[place], before, alpha=-1), out=new[place])
                torch.mul(before, start[place, :, -1:], out=after).baddbmm_(keys[place].mT, new[place])
            o = _add(started[:, :, :rows] @ states[:-1], scores[:, :, :rows], new)
        ctx.save_for_backward(x, start, mixing, scores, started, inverse, keys, new, states, forgotten)
        return o, states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_o: Tensor, d_state: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of what `forward` took, of its outputs' gradients."""
        x, start, mixing, scores, started, inverse, keys, new, states, forgotten = ctx.saved_tensors
        rows = d_o.shape[2]
        k, read = x[:, :, rows:], started[:, :, rows:]
        with _full_precision(x.device):
            d_x = x.new_empty(*x.shape[:3], d_o.shape[-1])  # of what X read: O and, negative, V
            d_x[:, :, :rows] = d_o
            d_o = d_x[:, :, :rows]
            d_new, d_v, d_states = scores[:, :, :rows].mT @ d_o, torch.empty_like(new), torch.empty_like(states)
            d_before = started[:, :, :rows].mT @ d_o
            d_states[-1] = d_state
            for place in reversed(range(len(k))):
                before, after = d_states[place], d_states[place + 1]
                torch.bmm(inverse[place].mT, d_new[place].baddbmm_(keys[place], after), out=d_v[place])
                torch.addcmul(d_before[place], after, start[place, :, -1:], out=before)
                before.baddbmm_(read[place].mT, d_v[place], alpha=-1)
            torch.neg(d_v, out=d_x[:, :, rows:])
            d_scores = _times(d_x @ new.mT, mixing)
            d_scores[:, :, rows:].diagonal(dim1=-2, dim2=-1).zero_()
            # G_t is a factor of all that t reads, 1 / G_t and beta_t are factors of the key that it writes under.
            d_x = _add(_times(d_x @ states[:-1].mT, start), d_scores, k)
            d_writer = _add((new @ d_states[1:].mT).mul_(mixing[:, :, -1, :, None]), d_scores.mT, x)
            write = _dot(k, d_writer)
            gain = _dot(x, d_x).unflatten(2, (-1, k.shape[2])).sum(2) - write
            gain[..., -1] += _dot(states[1:].flatten(2), d_states[1:].flatten(2))
            # A sum over the tokens that the decay acts on, not a difference of longer sums: zero where there are none.
            shared = forgotten.shape[:2].numel() == 1
            d_decay = gain @ forgotten[0, 0] if shared else (gain[..., None, :] @ forgotten).squeeze(-2)
        return d_x[:, :, :rows], d_writer.add_(d_x[:, :, rows:]), d_v, d_decay, write, d_states[0], None, None, None


def _add(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """x += left @ right, of (chunks, M, ., .) all three."""
    x.flatten(0, 1).baddbmm_(left.flatten(0, 1), right.flatten(0, 1))
    return x


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Sums of products over the last dimension; as a product with ones, for which CPU kernels are faster."""
    return (x * y) @ x.new_ones(x.shape[-1])


def _times(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply in place: (chunks, M, groups * C, ...) by (chunks, M, C, ...), the same for each group."""
    x.unflatten(2, (-1, factor.shape[2])).mul_(factor[:, :, None])
    return x


def _inverse(lower: Tensor) -> Tensor:
    """(..., C, C) -> of I + its strictly lower triangle, by substitution, which stays precise for keys that are alike.

    The powers of a Neumann series would cancel in fp32 there.
    """
    identity = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device).expand(lower.shape)
    # Into rows: left to itself, the solver answers in columns, and turns all it is given into columns first.
    found = lower.new_empty(lower.shape)
    return torch.linalg.solve_triangular(lower.contiguous(), identity, upper=False, unitriangular=True, out=found)


def _full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """No autocast: the state sums over many tokens."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()
