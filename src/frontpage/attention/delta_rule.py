"""The gated delta rule (Yang et al. 2024, "Gated Delta Networks", arXiv 2412.06464), step by step and in chunks.

Shapes: q (B, H, T, D); k (B, Hkv, T, D) and v (B, Hkv, T, E), each shared by H / Hkv heads of q; `log_decay` and
`log_write`, the logarithms of the paper's alpha and beta, (B, Hkv, T); the state (B, Hkv, D, E). Keys have length 1.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from frontpage.attention.documents import once

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
    opens = None if document_ids is None else _opens(document_ids)[:, None, :, None, None]
    outputs = []
    with _full_precision(q.device):
        for t in range(k.shape[2]):
            state = decay[:, :, t] * state
            if opens is not None:
                state = state.masked_fill(opens[:, :, t], 0.0)
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
    time, heads = k.shape[2], k.shape[1]
    chunk = min(chunk, time)
    rest = -time % chunk
    if rest:  # zero keys write nothing, and a decay of exp(0) forgets nothing
        q, k, v = (F.pad(part, (0, 0, 0, rest)) for part in (q, k, v))
        log_decay, log_write = F.pad(log_decay, (0, rest)), F.pad(log_write, (0, rest))
    q = q.unflatten(2, (-1, chunk)).unflatten(1, (heads, -1)).transpose(2, 3)  # (B, Hkv, chunks, groups, C, D)
    k, v, log_decay, log_write = (part.unflatten(2, (-1, chunk)) for part in (k, v, log_decay, log_write))
    state = k.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1]) if state is None else state
    log_decay = log_decay.clamp(min=LEAST_LOG_DECAY)
    o, state = _Chunks.apply(q, k, v, log_decay, log_write, state, *_sight(k, document_ids))
    return o.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :, :time], state


class _Sight(NamedTuple):
    """What tokens see inside chunks, 1 or 0; the first dimensions only with documents."""

    pairs: Tensor  # (B, chunks, C, C): the row's token sees the column's
    carried: Tensor  # (B, chunks, C): it sees the state before its chunk
    forgotten: Tensor  # (B, chunks, C, C): the decay of the column's token acts on what the row's token sees


def _sight(k: Tensor, document_ids: Tensor | None) -> _Sight:
    """For keys (B, Hkv, chunks, C, D)."""
    chunks, chunk = k.shape[2:4]
    causal = k.new_ones(chunk, chunk).tril()
    if document_ids is None:
        return _Sight(causal, k.new_ones(chunk), causal)

    def build() -> _Sight:
        opens = F.pad(_opens(document_ids), (0, chunks * chunk - document_ids.shape[1])).unflatten(1, (chunks, chunk))
        begun = opens.cumsum(-1)  # documents since the chunk's beginning
        pairs = causal * (begun[..., :, None] == begun[..., None, :])
        return _Sight(pairs, (begun == 0).to(k.dtype), pairs * ~opens[..., None, :])

    return once(document_ids, ("delta rule", chunk, k.dtype), build)


def _opens(document_ids: Tensor) -> Tensor:
    """(B, T), True where a document begins: a run of equal ids."""
    return F.pad(document_ids[:, 1:] != document_ids[:, :-1], (1, 0), value=True)


class _Chunks(torch.autograd.Function):
    """The chunked form, with its gradient by hand: it keeps the state before each chunk and computes the rest again.

    In a chunk, with G the decay from its beginning, L[t, s] = beta_s G_t / G_s for s <= t, and S the state before it:
    (I + strictly lower (L * K K')) Z = V - G K S, where beta_t Z_t is what token t changes under its key;
    O = G Q S + (L * Q K') Z, and the next state is G_last S + (L_last K)' Z. Queries and keys both read here: they are
    the `readers`, (M, groups * C + C, D), the keys last. M is B * Hkv.
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
        """q (B, Hkv, chunks, groups, C, D), k and v (B, Hkv, chunks, C, D or E) -> (as q with E), (B, Hkv, D, E)."""
        decay, start = _decays(log_decay, carried)
        states, o = state.new_empty(k.shape[2] + 1, *state.shape).flatten(1, 2), q.new_empty(*q.shape[:-1], v.shape[-1])
        states[0], own = state.flatten(0, 1), k.shape[3]
        readers, scores, old = _rooms(q, k.shape[-1], own, v.shape[-1])
        with _full_precision(q.device):
            for place in range(k.shape[2]):
                mixing = _read(q, k, decay, log_write, pairs, place, readers, scores)
                _times(torch.bmm(readers, states[place], out=old), _at(start, place))
                new = v[:, :, place].flatten(0, 1) - old[:, -own:]
                new = torch.linalg.solve_triangular(scores[:, -own:], new, upper=False, unitriangular=True)
                written = mixing[:, -1, :, None] * readers[:, -own:]
                torch.baddbmm(states[place] * _at(start, place)[:, -1:], written.mT, new, out=states[place + 1])
                _put(o, place, torch.baddbmm(old[:, :-own], scores[:, :-own], new))
        ctx.save_for_backward(q, k, v, log_decay, log_write, states, pairs, carried, forgotten)
        return o, states[-1].view_as(state).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_o: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of what `forward` took, of its outputs' gradients."""
        q, k, v, log_decay, log_write, states, pairs, carried, forgotten = ctx.saved_tensors
        d_q, d_k, d_v, d_decay, d_write = (torch.empty_like(part) for part in (q, k, v, log_decay, log_write))
        d_state, own = d_last.flatten(0, 1), k.shape[3]
        decay, start = _decays(log_decay, carried)
        widths = k.shape[-1], own, v.shape[-1]
        readers, scores, d_read, d_scores, d_readers, gains = _rooms(q, *widths, own, k.shape[-1], k.shape[-1])
        with _full_precision(q.device):
            for place in reversed(range(k.shape[2])):
                mixing = _read(q, k, decay, log_write, pairs, place, readers, scores)
                started, keys, last = _at(start, place), readers[:, -own:], mixing[:, -1, :, None]
                inverse = _inverse(scores[:, -own:])
                new = inverse.bmm(torch.baddbmm(v[:, :, place].flatten(0, 1), started * keys, states[place], alpha=-1))
                d_mixed = d_o[:, :, place].flatten(2, 3).flatten(0, 1)
                d_new = inverse.mT.bmm(scores[:, :-own].mT.bmm(d_mixed).baddbmm_(last * keys, d_state))
                d_read[:, :-own], d_read[:, -own:] = d_mixed, -d_new
                _times(torch.bmm(d_read, new.mT, out=d_scores), mixing)
                d_scores[:, -own:].diagonal(dim1=-2, dim2=-1).zero_()
                _times(d_read, started)
                torch.bmm(d_read, states[place].mT, out=d_readers).baddbmm_(d_scores, keys)
                d_writers = new.bmm(d_state.mT).mul_(last).baddbmm_(d_scores.mT, readers)
                # G_t is a factor of all that t reads, 1 / G_t and beta_t are factors of the key that it writes under.
                write = (keys * d_writers).sum(-1)
                gain = torch.mul(readers, d_readers, out=gains).sum(-1).unflatten(1, (-1, own)).sum(1).sub_(write)
                gain[:, -1] += (states[place + 1] * d_state).sum((-2, -1))
                d_state = torch.baddbmm(d_state * started[:, -1:], readers.mT, d_read)
                _put(d_q, place, d_readers[:, :-own])
                _put(d_k, place, d_writers.add_(d_readers[:, -own:]))
                _put(d_v, place, d_new)
                _put(d_decay, place, gain)
                _put(d_write, place, write)
            # A sum over the tokens that the decay acts on, not a difference of longer sums: zero where there are none.
            d_decay = (d_decay.transpose(1, 2) @ forgotten).transpose(1, 2)
        return d_q, d_k, d_v, d_decay, d_write, d_state.view(*k.shape[:2], *d_state.shape[1:]), None, None, None


def _decays(log_decay: Tensor, carried: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of G, and G where the state before the chunk is seen, else 0: (B, Hkv, chunks, C) both."""
    decay = log_decay.cumsum(-1)
    return decay, decay.clamp(min=LEAST_LOG).exp_().mul_(carried if carried.dim() == 1 else carried[:, None])


def _rooms(q: Tensor, *widths: int) -> list[Tensor]:
    """Room for the readers' tensors of a chunk, (M, groups * C + C, width) each, that all chunks use.

    On CPU fresh memory for each would cost more than what is computed in it.
    """
    batch, heads, _, groups, chunk, _ = q.shape
    return [q.new_empty(batch * heads, (groups + 1) * chunk, width) for width in widths]


def _read(
    q: Tensor,
    k: Tensor,
    decay: Tensor,
    log_write: Tensor,
    pairs: Tensor,
    place: int,
    readers: Tensor,
    scores: Tensor,
) -> Tensor:
    """L (M, C, C) of the chunk at `place`; fills in its readers, and as scores L times their products with the keys."""
    keys, decay, write = k[:, :, place], decay[:, :, place], log_write[:, :, place]
    rooms = readers.view(*q.shape[:2], q.shape[3] + 1, *q.shape[4:])
    rooms[:, :, :-1], rooms[:, :, -1] = q[:, :, place], keys
    # Where the row's token is the earlier one, the exponential of the difference could be infinite, and 0 times it NaN.
    mixing = (decay[..., :, None] - (decay - write)[..., None, :]).clamp_(LEAST_LOG, 0).exp_()
    mixing = mixing.mul_(pairs if pairs.dim() == 2 else pairs[:, None, place]).flatten(0, 1)
    _times(torch.bmm(readers, keys.flatten(0, 1).mT, out=scores), mixing)
    return mixing


def _times(x: Tensor, factor: Tensor) -> None:
    """Multiply in place: (M, groups * C, ...) by (M, C, ...), the same for each group."""
    x.unflatten(1, (-1, factor.shape[1])).mul_(factor[:, None])


def _put(whole: Tensor, place: int, part: Tensor) -> None:
    """Write the chunk at `place`: (M, ...) into (B, Hkv, chunks, ...)."""
    chunk = whole[:, :, place]
    chunk.copy_(part.unflatten(0, chunk.shape[:2]).view_as(chunk))


def _at(start: Tensor, place: int) -> Tensor:
    """G of the chunk at `place`, (M, C, 1)."""
    return start[:, :, place].reshape(-1, start.shape[-1], 1)


def _inverse(lower: Tensor) -> Tensor:
    """(M, C, C) -> of I + its strictly lower triangle, by substitution, which stays precise for keys that are alike.

    The powers of a Neumann series would cancel in fp32 there.
    """
    identity = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
    return torch.linalg.solve_triangular(lower, identity, upper=False, unitriangular=True)


def _full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """No autocast: the state sums over many tokens."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()
