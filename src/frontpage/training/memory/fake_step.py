"""A training step without numbers: tensors that have sizes only show what a real step would hold in memory."""

import copy
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from frontpage.attention.parts.rotary import Rotary

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]  # net, what its heads read (B, T, C), tokens (B, T) -> a scalar
# Of the number before the hyphen; fp16 takes the bytes of bf16, and every CPU has the latter.
_DTYPES = {"64": torch.float64, "32": torch.float32, "16": torch.bfloat16, "bf16": torch.bfloat16}


class Dtypes(NamedTuple):
    """What a precision means."""

    weights: torch.dtype  # and their gradients
    autocast: torch.dtype | None


def dtypes_of(precision: str) -> Dtypes:
    """Of Lightning's `precision`, whose bare `16` and `bf16` are mixed, `32` and `64` true; fp16 is counted as bf16.

    Raises ValueError for another.
    """
    number, hyphen, kind = precision.partition("-")
    half = number in ("16", "bf16")
    kind = kind if hyphen else ("mixed" if half else "true")
    if number not in _DTYPES or kind not in (("mixed", "true") if half else ("true",)):
        raise ValueError(f"precision={precision}: one of 32-true 64-true 16-true bf16-true 16-mixed bf16-mixed")
    return Dtypes(torch.float32, _DTYPES[number]) if kind == "mixed" else Dtypes(_DTYPES[number], None)


class FakeStep(NamedTuple):
    """Bytes that one step holds besides weights, buffers and older gradients, and those of the buffers."""

    saved: dict[str, int]  # by what saved them for the backward pass: `block 0` ..., `ends` (embedding, norm), `loss`
    casts: int  # of those, copies of weights in half precision, which do not grow with the batch
    forward_peak: int
    peak: int  # of forward and backward pass, new gradients among them
    buffers: int  # of the net


def fake_step(
    net: nn.Module,
    loss: Loss,
    batch_size: int,
    block_size: int,
    *,
    precision: str,
    document_mask: bool,
    checkpointing: bool = True,
) -> FakeStep:
    """What a step of `net` on `batch_size` x `block_size` tokens holds; nothing is computed, no weight is touched.

    `precision` is Lightning's; without `checkpointing` the net's activation checkpointing is left out. Raises
    RuntimeError (or NotImplementedError) where a layer looks at numbers.
    """
    device = _device(next(net.parameters()))
    mode, ledger = FakeTensorMode(), _Ledger()
    weights, half = dtypes_of(precision)
    fake = without_numbers(net, mode, weights).train()
    if not checkpointing:
        fake.checkpoint_every = 0
    ledger.ignore([*fake.parameters(), *fake.buffers()])
    with mode:
        tokens, ids = torch.zeros(2, batch_size, block_size, dtype=torch.int64, device=device)
        ledger.ignore([tokens])
        context = (ids, ids) if document_mask else ()
        with ledger, _named(ledger, fake):
            with torch.autograd.graph.saved_tensors_hooks(ledger.save, lambda tensor: tensor):
                with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
                    hidden = fake.hidden(tokens, *context)
                    ledger.place = "loss"
                    value = loss(fake, hidden, tokens)
            forward_peak = ledger.peak
            del hidden
            value.backward()
    buffers = sum(buffer.numel() * buffer.itemsize for buffer in fake.buffers())
    return FakeStep(ledger.saved_bytes(), ledger.cast_bytes(), forward_peak, ledger.peak, buffers)


def without_numbers(net: nn.Module, mode: FakeTensorMode, weights: torch.dtype = torch.float32) -> nn.Module:
    """A copy of `net` whose weights and buffers have sizes only, in the dtypes that Lightning converts them to.

    Float32 `weights` convert nothing, half ones all but what turns queries and keys (see Rotary).
    """
    turning = {id(buffer) for module in net.modules() if isinstance(module, Rotary) for buffer in module.buffers()}

    def stand_in(tensor: Tensor) -> Tensor:
        kept = weights == torch.float32 or not tensor.is_floating_point()
        kept = kept or (id(tensor) in turning and weights.itemsize < torch.float32.itemsize)
        with mode:
            return torch.empty(tensor.shape, dtype=tensor.dtype if kept else weights, device=_device(tensor))

    known: dict[int, Tensor] = {id(weight): nn.Parameter(stand_in(weight.detach())) for weight in net.parameters()}
    known |= {id(buffer): stand_in(buffer) for buffer in net.buffers()}
    return copy.deepcopy(net, known)


def _device(tensor: Tensor) -> torch.device:
    """Where a tensor is; the CPU for one of the meta device, which has no kernels to choose among."""
    return torch.device("cpu") if tensor.is_meta else tensor.device


class _Ledger(TorchDispatchMode):
    """Keeps account of every storage that an operation makes, and of those that autograd keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.place, self.now, self.peak = "ends", 0, 0
        self._live: dict[int, int] = {}
        self._outside: set[int] = set()
        self._saved: dict[int, tuple[str, int, Tensor]] = {}  # the tensor keeps its storage's number from being reused
        self._casts: dict[int, Tensor] = {}

    def ignore(self, tensors: list[Tensor]) -> None:
        """Leave these out of the account: weights and buffers are counted elsewhere."""
        self._outside |= {tensor.untyped_storage()._cdata for tensor in tensors}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run the operation and enter what it made."""
        made = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._enter, made)
        of_weight = args and isinstance(args[0], Tensor) and args[0].untyped_storage()._cdata in self._outside
        if of_weight and func is torch.ops.aten._to_copy.default and made.is_floating_point():
            self._casts[made.untyped_storage()._cdata] = made
        return made

    def save(self, tensor: Tensor) -> Tensor:
        """Enter a tensor that autograd keeps, under the part of the net that runs; its hook for saved tensors."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._outside:
            self._saved.setdefault(storage._cdata, (self.place, storage.nbytes(), tensor))
        return tensor

    def saved_bytes(self) -> dict[str, int]:
        """Bytes kept for the backward pass, by place."""
        found: dict[str, int] = {}
        for place, size, _ in self._saved.values():
            found[place] = found.get(place, 0) + size
        return found

    def cast_bytes(self) -> int:
        """Bytes of the kept copies of weights."""
        return sum(size for key, (_, size, _) in self._saved.items() if key in self._casts)

    def _enter(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._live and key not in self._outside:
            self._live[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._leave, key)
        return tensor

    def _leave(self, key: int) -> None:
        self.now -= self._live.pop(key)


@contextmanager
def _named(ledger: _Ledger, net: nn.Module) -> Iterator[None]:
    """While a block runs, what is saved goes to its account."""
    with ExitStack() as hooks:
        for index, block in enumerate(net.blocks):
            enters = block.register_forward_pre_hook(lambda *_, name=f"block {index}": setattr(ledger, "place", name))
            leaves = block.register_forward_hook(lambda *_: setattr(ledger, "place", "ends"))
            hooks.callback(enters.remove)
            hooks.callback(leaves.remove)
        yield
