"""Attention over listed keys by a compiled kernel for CPUs, listed_keys.cpp: time and memory follow the pairs seen."""

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frontpage.attention.kernels.listed_keys import ListedKeys
from frontpage.attention.kernels.views import REALS, along_memory, like, views
from frontpage.machine.as_gpu import on_cpu
from frontpage.machine.compiler import NotCompiled, compiled

SOURCE = Path(__file__).with_name("listed_keys.cpp")
NONE, STRAIGHT, SOFT = 0, 1, 2  # gates: a gradient of gates that are 1, or multiplied with values as well


@torch.compiler.assume_constant_result
def kernel_problem(width: int) -> str | None:
    """Why there is no kernel for heads of `width` here, or None."""
    return _problem(width)


@functools.cache  # failures too, which `compiled` would try again
def _problem(width: int) -> str | None:
    try:
        _library(torch.float32, width)
    except NotCompiled as error:
        return str(error)
    return None


def kernel_refusal(width: int, device: torch.device, dropout: float) -> str | None:
    """What keeps the kernel from computing heads of `width` there, with `dropout` of weights, or None."""
    if not on_cpu(device):
        return "for the CPU only"
    return f"no dropout, and attention_dropout={dropout}" if dropout else kernel_problem(width)


def by_kernel(q: Tensor, k: Tensor, v: Tensor, keys: ListedKeys, gates: Tensor | None = None) -> Tensor:
    """Softmax attention on the CPU: q (B, H, T, D), k and v (B, Hkv, S, D) -> (B, H, T, D).

    `gates` (B, T, k) are multiplied with the values of chosen keys, and get no gradient here. Computes in float32 or
    float64, and gives what `v` is. Raises NotCompiled where there is no kernel, and ValueError where the tensors do not
    fit together: the kernel would read what is not theirs.
    """
    given, kind = v.dtype, torch.promote_types(q.dtype, torch.float32)
    q, k, v = (part.to(kind) for part in (q, k, v))
    gates = None if gates is None else gates.detach().to(kind)
    return attend(q, k, v, keys, gates, NONE if gates is None else SOFT).to(given)


def attend(q: Tensor, k: Tensor, v: Tensor, keys: ListedKeys, gates: Tensor | None, use: int) -> Tensor:
    """The operation itself, all of one type; `use` is NONE without `gates`, else STRAIGHT or SOFT."""
    _check(q, k, v, keys, gates)
    return _attention(q, k, v, keys.near, keys.first, keys.count, keys.chosen, gates, use, keys.lengths, keys.periods)


def gradients(
    q: Tensor, k: Tensor, v: Tensor, d_y: Tensor, keys: ListedKeys, gates: Tensor | None, use: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of q, k, v and, unless `use` is NONE, of the gates (B, T, k), sums over the heads."""
    lists = keys.near, keys.first, keys.count, keys.chosen
    return _gradients(q, k, v, d_y, *lists, gates, use, keys.lengths, keys.periods)


def _check(q: Tensor, k: Tensor, v: Tensor, keys: ListedKeys, gates: Tensor | None) -> None:
    batch, heads, queries, width = q.shape
    if k.shape != v.shape or k.shape[0] != batch or k.shape[3] != width or k.shape[2] < queries:
        raise ValueError(f"k {tuple(k.shape)} and v {tuple(v.shape)}: do not fit q {tuple(q.shape)}")
    if {k.dtype, v.dtype} != {q.dtype} or q.dtype not in REALS:
        raise ValueError(f"q {q.dtype} k {k.dtype} v {v.dtype}: all float32 or all float64")
    patterns = len(keys.lengths)
    if heads % k.shape[1] or heads % patterns or patterns != len(keys.periods):
        raise ValueError(f"{heads} heads of q: no multiple of {k.shape[1]} of k, or of {patterns} patterns")
    if keys.chosen is not None and (keys.chosen.shape[:2] != (batch, queries) or patterns > 1):
        raise ValueError(f"chosen {tuple(keys.chosen.shape)}: not of {(batch, queries)} queries, one pattern")
    for name in ("near", "first", "count"):
        part = getattr(keys, name)
        if part.shape not in ((patterns, 1, queries), (patterns, batch, queries)) or part.shape != keys.near.shape:
            raise ValueError(f"{name} {tuple(part.shape)}: does not fit {patterns} patterns of {queries} queries")
    if gates is not None and (keys.chosen is None or gates.shape != keys.chosen.shape):
        raise ValueError(f"gates {tuple(gates.shape)}: one for each chosen key")
    if any(part.dtype != torch.int32 for part in (keys.near, keys.first, keys.count, keys.chosen) if part is not None):
        raise ValueError("near first count chosen: all int32")


@torch.library.custom_op("frontpage::listed_attention", mutates_args=(), device_types="cpu")
def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    near: Tensor,
    first: Tensor,
    count: Tensor,
    chosen: Tensor | None,
    gates: Tensor | None,
    use: int,
    lengths: Sequence[int],
    periods: Sequence[int],
) -> Tensor:
    """-> y."""
    lists = near, first, count, chosen
    made = _made(q)
    _call("forward", q, k, lists, gates, use, lengths, periods, (q, k, v, made))
    return made


@_attention.register_fake
def _made(q: Tensor, *others: Any) -> Tensor:
    """A tensor for what `_attention` returns."""
    batch, heads, queries, width = q.shape
    return q.new_empty(batch, queries, heads, width).transpose(1, 2)  # as the layer joins the heads


@torch.library.custom_op("frontpage::listed_attention_backward", mutates_args=(), device_types="cpu")
def _gradients(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    d_y: Tensor,
    near: Tensor,
    first: Tensor,
    count: Tensor,
    chosen: Tensor | None,
    gates: Tensor | None,
    use: int,
    lengths: Sequence[int],
    periods: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """-> the gradients of q, k, v and the gates (none: no numbers)."""
    lists = near, first, count, chosen
    made = d_q, d_k, d_v, d_gates = _made_backward(q, k, v, d_y, *lists, gates, use, lengths, periods)
    d_k.zero_(), d_v.zero_()
    tensors = q, k, v, d_y, d_q, d_k, d_v
    _call("backward", q, k, lists, gates, use, lengths, periods, tensors, d_gates)
    return made


@_gradients.register_fake
def _made_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    d_y: Tensor,
    near: Tensor,
    first: Tensor,
    count: Tensor,
    chosen: Tensor | None,
    gates: Tensor | None,
    use: int,
    lengths: Sequence[int],
    periods: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tensors for what `_gradients` returns."""
    return like(q), like(k), like(v), q.new_empty(0 if use == NONE else chosen.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    q, k, v, near, first, count, chosen, gates, *ctx.settings = inputs
    ctx.save_for_backward(q, k, v, near, first, count, chosen, gates if ctx.settings[0] == SOFT else None)


def _backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, *lists_and_gates = ctx.saved_tensors
    d_q, d_k, d_v, _ = _gradients(q, k, v, d_y, *lists_and_gates, *ctx.settings)
    return d_q, d_k, d_v, *[None] * 8


_attention.register_autograd(_backward, setup_context=_keep)


class _Lists(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("near", "first", "count", "chosen", "length", "period")),
        *((name, ctypes.c_int64) for name in ("patterns", "pattern", "row", "k")),
    ]


class _Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("rows", "heads", "group", "queries", "keys", "threads", "gates")]


def _call(
    name: str,
    q: Tensor,
    k: Tensor,
    lists: tuple[Tensor | None, ...],
    gates: Tensor | None,
    use: int,
    lengths: Sequence[int],
    periods: Sequence[int],
    tensors: tuple[Tensor, ...],
    *written: Tensor,
) -> None:
    """Run a function of the kernel on tensors of which the last, and `written`, are written to."""
    tensors = tuple(map(along_memory, tensors))  # only inputs: results are made so
    near, first, count, chosen = (None if part is None else part.contiguous() for part in lists)
    gates = None if gates is None else gates.contiguous()
    integers = ctypes.c_int64 * len(lengths)
    _, rows, queries = near.shape
    listed = _Lists(
        *(None if part is None else part.data_ptr() for part in (near, first, count, chosen)),
        *(ctypes.cast(integers(*sizes), ctypes.c_void_p) for sizes in (lengths, periods)),
        len(lengths),
        rows * queries,
        0 if rows == 1 else queries,
        0 if chosen is None else chosen.shape[2],
    )
    sizes = _Sizes(q.shape[0], k.shape[1], q.shape[1] // k.shape[1], queries, k.shape[2], torch.get_num_threads(), use)
    function = getattr(_library(q.dtype, q.shape[3]), name)
    function.restype = None
    pointers = (ctypes.c_void_p(None if part is None else part.data_ptr()) for part in (gates, *written))
    function(views(tensors), ctypes.byref(listed), *pointers, ctypes.byref(sizes))


def _library(dtype: torch.dtype, width: int) -> ctypes.CDLL:
    return compiled(SOURCE, REAL=REALS[dtype], WIDTH=width)
