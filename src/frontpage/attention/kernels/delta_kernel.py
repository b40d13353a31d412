"""The gated delta rule by a compiled kernel for CPUs, delta_rule.cpp: token after token, as `recurrent` computes it.

Shapes as in `delta_rule`.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frontpage.attention.kernels.views import REALS, along_memory, like, views
from frontpage.attention.parts.documents import opens
from frontpage.machine.compiler import NotCompiled, compiled

SOURCE = Path(__file__).with_name("delta_rule.cpp")
MARK = 16  # tokens between two states that are kept for the backward pass


@torch.compiler.assume_constant_result
def kernel_problem(width: int) -> str | None:
    """Why there is no kernel for heads of `width` here, or None."""
    return _problem(width)


@functools.cache  # failures too, which `compiled` would try again
def _problem(width: int) -> str | None:
    try:
        _library(torch.float32, width, width)
    except NotCompiled as error:
        return str(error)
    return None


def by_kernel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    log_write: Tensor,
    *,
    document_ids: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What `recurrent` gives; float32 or float64, on the CPU. Raises NotCompiled where there is no kernel.

    Raises ValueError where the tensors do not fit together: the kernel would read what is not theirs.
    """
    decay = log_decay.exp()
    if document_ids is not None:
        decay = decay.masked_fill(opens(document_ids)[:, None], 0.0)
    state = k.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1]) if state is None else state
    given = q, k, v, decay, log_write.exp(), state
    _check(*given)
    return _rule(*given)[:2]


def _check(q: Tensor, k: Tensor, v: Tensor, *gates_and_state: Tensor) -> None:
    gate, value_width = k.shape[:3], v.shape[-1]
    fitting = {
        "q": (k.shape[0], q.shape[1], *k.shape[2:]),
        "v": (*gate, value_width),
        "log_decay": gate,
        "log_write": gate,
        "state": (*k.shape[:2], k.shape[-1], value_width),
    }
    for (name, shape), part in zip(fitting.items(), (q, v, *gates_and_state), strict=True):
        if part.shape != shape or part.dtype != k.dtype or k.dtype not in REALS:
            found, wanted = (f"{tuple(one.shape)} {one.dtype}" for one in (part, k))
            raise ValueError(f"{name} {found}: does not fit k {wanted}; all float32 or all float64")
    if q.shape[1] % k.shape[1]:
        raise ValueError(f"{q.shape[1]} heads of q: no multiple of the {k.shape[1]} of k")


@torch.library.custom_op("frontpage::delta_rule", mutates_args=(), device_types="cpu")
def _rule(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, write: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """-> o, the last state, and for the backward pass what each token changes and the state every MARK tokens."""
    made = o, last, changes, marks = _made(q, k, v, decay, write, state)
    last.copy_(state)
    _call("forward", q, k, v, (q, k, v, decay, write, last, o, changes, marks))
    return made


@_rule.register_fake
def _made(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, write: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tensors for what `_rule` returns."""
    batch, heads, time, width = v.shape
    o = v.new_empty(batch, time, q.shape[1], width).transpose(1, 2)  # as the layer joins the heads
    marks = k.new_empty(batch, heads, -(-time // MARK), k.shape[-1], width)
    return o, state.new_empty(state.shape), like(v), marks


@torch.library.custom_op("frontpage::delta_rule_backward", mutates_args=(), device_types="cpu")
def _gradients(
    q: Tensor, k: Tensor, decay: Tensor, write: Tensor, changes: Tensor, marks: Tensor, d_o: Tensor, d_last: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """-> the gradients of what `_rule` takes, of those of its first two results."""
    made = d_q, d_k, d_v, d_decay, d_write, d_state = _made_backward(q, k, decay, write, changes, marks, d_o, d_last)
    d_state.copy_(d_last)
    given = q, k, decay, write, changes, marks, d_o, d_state
    _call("backward", q, k, changes, (*given, d_q, d_k, d_v, d_decay, d_write))
    return made


@_gradients.register_fake
def _made_backward(
    q: Tensor, k: Tensor, decay: Tensor, write: Tensor, changes: Tensor, marks: Tensor, d_o: Tensor, d_last: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Tensors for what `_gradients` returns."""
    state = d_last.new_empty(d_last.shape)
    return *map(like, (q, k, changes, decay, write)), state


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    q, k, _, decay, write, _ = inputs
    ctx.save_for_backward(q, k, decay, write, *output[2:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, d_o: Tensor | None, d_last: Tensor | None, *_: None) -> tuple[Tensor, ...]:
    q, k, decay, write, changes, marks = ctx.saved_tensors
    if d_o is None:
        d_o = q.new_zeros(*q.shape[:3], changes.shape[-1])
    if d_last is None:
        d_last = k.new_zeros(*k.shape[:2], k.shape[-1], changes.shape[-1])
    return _gradients(q, k, decay, write, changes, marks, d_o, d_last)


_rule.register_autograd(_backward, setup_context=_keep)


class _Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("rows", "heads", "group", "time", "threads")]


def _call(name: str, q: Tensor, k: Tensor, v: Tensor, tensors: tuple[Tensor, ...]) -> None:
    """Run a function of the kernel on tensors of which the last are written to; sizes are those of q, k and v."""
    rows, heads, time, width = k.shape
    tensors = tuple(map(along_memory, tensors))  # only inputs: results are made so
    sizes = _Sizes(rows, heads, q.shape[1] // heads, time, torch.get_num_threads())
    function = getattr(_library(q.dtype, width, v.shape[-1]), name)
    function.restype = None
    function(views(tensors), ctypes.byref(sizes))


def _library(dtype: torch.dtype, width: int, value_width: int) -> ctypes.CDLL:
    return compiled(SOURCE, REAL=REALS[dtype], KEY_WIDTH=width, VALUE_WIDTH=value_width, MARK=MARK)
