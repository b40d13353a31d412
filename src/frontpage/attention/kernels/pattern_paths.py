"""How PatternAttention is computed: a mask, FlexAttention, or fewer pairs, in a form or a list; all give the same."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from frontpage.attention.kernels import band, residues, summary_blocks
from frontpage.attention.kernels.executors import sdpa
from frontpage.attention.kernels.flex import FlexMask, flex
from frontpage.attention.kernels.listed_chunks import in_chunks
from frontpage.attention.kernels.listed_kernel import by_kernel, kernel_refusal
from frontpage.attention.kernels.listed_keys import list_keys
from frontpage.attention.kernels.pattern_runs import has_runs
from frontpage.attention.kernels.routes import Routed
from frontpage.attention.parts.documents import numbers_of_documents, once, places_in_documents, same_document
from frontpage.attention.parts.pattern import Pattern, PatternAttention
from frontpage.attention.parts.softmax import repeat_heads, softmax_attention
from frontpage.command.notices import notice
from frontpage.machine.as_gpu import on_cpu

FORMS: dict[str | None, Any] = {"band": band, "residues": residues, "summary_blocks": summary_blocks}
LEAST_FLEX_WIDTH = 16  # of a head, for FlexAttention's CUDA kernel
PAIRS_AT_ONCE = 2**22  # of a query and a key, where a square is filled in parts: some tens of megabytes
LEAST_LISTED = 128  # tokens from which lists of keys were measured to be faster than a mask on CPU (docs/attention.md)
LONG = 512  # tokens from which lists take the place of forms too, and no square is kept where there is another way


def accelerate(net: nn.Module) -> nn.Module:
    """Give every PatternAttention of `net` its faster paths; the same net."""
    for layer in net.modules():
        if isinstance(layer, PatternAttention):
            layer.paths = PatternPaths(layer)
    return net


class PatternPaths(Routed):
    """The backends of one `layer`."""

    def __init__(self, layer: PatternAttention) -> None:
        self.layer, self.backends = layer, layer.backends
        self.flex_mask = FlexMask(layer.patterns, layer.n_head)
        for index, pattern in enumerate(layer.patterns):
            if layer.block_size >= LONG and (pattern.form == "causal" or has_runs(pattern)):
                continue
            square = torch.empty(layer.block_size, layer.block_size, dtype=torch.bool)
            if not square.is_meta:  # there only sizes are asked for
                place = torch.arange(layer.block_size)
                for rows in place[:, None].split(max(PAIRS_AT_ONCE // len(place), 1)):
                    square[rows[:, 0]] = pattern(rows, place)
            layer.register_buffer(f"mask_{index}", square, persistent=False)  # (block_size, block_size)

    @property
    def backend(self) -> str:
        """What the layer was asked for."""
        return self.layer.backend

    @property
    def forms(self) -> list[Any]:
        """The module of kernels/ for each pattern; None where it has no such form."""
        return [FORMS.get(pattern.form) for pattern in self.layer.patterns]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None) -> Tensor:
        """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D)."""
        layer, time = self.layer, q.shape[2]
        # Weights are dropped in training also where nothing has a gradient, as in the first of several rounds.
        training = (torch.is_grad_enabled() and q.requires_grad) or (layer.training and layer.dropout > 0)
        path = self.route(time, q.device, documents=document_ids is not None, training=training)
        if path == "flex":
            return flex(q, k, v, self._flex(document_ids))
        dropout = layer.dropout if layer.training else 0.0
        if path == "reshape":
            return self._reshaped(q, k, v, document_ids, dropout)
        if path in ("cpp", "chunk"):
            keys = list_keys(layer.patterns, time, document_ids, q.device)
            return by_kernel(q, k, v, keys) if path == "cpp" else in_chunks(q, k, v, keys, dropout=dropout)
        views = [self._view(index, time, document_ids, q.device) for index in range(len(layer.patterns))]
        return self._masked(q, k, v, views, softmax_attention if path == "math" else sdpa)

    def fastest(self, length: int, device: torch.device, documents: bool, training: bool) -> str:
        """Lists on CPU; else reshape where it is faster, or SDPA with a mask. FlexAttention has not been measured."""
        pairs = list(zip(self.forms, self.layer.patterns, strict=True))
        reshaped = all(form is not None and form.faster(pattern, length, documents) for form, pattern in pairs)
        dense = reshaped and not documents and all(form is residues for form in self.forms)  # its parts see all before
        listed = on_cpu(device) and "cpp" in self.backends and all(map(has_runs, self.layer.patterns)) and not dense
        if listed and length >= (LONG if reshaped else LEAST_LISTED):
            problem = self.refusal("cpp", device, documents, training)
            if problem is None:
                return "cpp"
            if not (self.layer.dropout and training) and not torch.compiler.is_compiling():
                name = type(self.layer).__module__.rpartition(".")[2]
                notice(f"model.attention.backend=auto: {name} without its faster kernel: {problem}")
            # Blocks copy the keys of all blocks before; a stride's parts have a mask each where there are documents.
            lean = all(form is band or (form is residues and not documents) for form in self.forms)
            if length >= LONG and not (reshaped and lean):
                return "chunk"
        return "reshape" if reshaped else "sdpa"

    def refusal(self, backend: str, device: torch.device, documents: bool, training: bool) -> str | None:
        """FlexAttention trains on accelerators only and has no dropout; not every pattern has a form."""
        layer = self.layer
        if backend == "reshape" and not all(form is not None and form.possible(documents) for form in self.forms):
            return "not for several documents a row"
        if backend in ("cpp", "chunk") and not all(map(has_runs, layer.patterns)):
            return "the pattern has no runs of keys"
        if backend == "cpp":
            return kernel_refusal(layer.head_width, device, layer.dropout if training else 0.0)
        if backend == "flex" and device.type == "cpu" and training:
            return "no backward pass on CPU"
        if backend == "flex" and layer.dropout and training:
            return f"no dropout, and attention_dropout={layer.dropout}"
        if backend == "flex" and device.type == "cuda" and layer.head_width < LEAST_FLEX_WIDTH:
            return f"a head is {layer.head_width} wide, at least {LEAST_FLEX_WIDTH} is needed"
        return None

    def _reshaped(self, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None, dropout: float) -> Tensor:
        """Each form for its share of the heads, and one that takes several patterns for all of them."""
        first = self.forms[0]
        if all(form is first for form in self.forms) and hasattr(first, "mixed_together"):
            return first.mixed_together(self.layer.patterns, q, k, v, dropout)
        shares = self._shares(q, k, v, list(zip(self.forms, self.layer.patterns, strict=True)))
        mixed = [form.mixed(pattern, *part, document_ids, dropout) for part, (form, pattern) in shares]
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=1)

    def _masked(
        self, q: Tensor, k: Tensor, v: Tensor, views: Sequence[dict[str, Any]], mix: Callable[..., Tensor]
    ) -> Tensor:
        """Each share of the heads by itself: a mask for all heads at once would be as many times larger."""
        dropout = self.layer.dropout if self.layer.training else 0.0
        masks = [view["mask"] for view in views if "mask" in view]
        if len(masks) == len(views) > 1 and all(mask.dim() == 2 for mask in masks):  # small: one call is faster
            views = [{"mask": self.layer.of_heads(masks)[None]}]
        if len(views) == 1:
            return mix(q, k, v, dropout=dropout, **views[0])
        return torch.cat([mix(*part, dropout=dropout, **view) for part, view in self._shares(q, k, v, views)], dim=1)

    def _shares(self, q: Tensor, k: Tensor, v: Tensor, of: Sequence[Any]) -> Iterator[tuple[tuple[Tensor, ...], Any]]:
        """An equal run of the heads, and the keys and values that they share, for each element of `of`."""
        if k.shape[1] % len(of):
            k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
        return zip(zip(*(part.chunk(len(of), dim=1) for part in (q, k, v)), strict=True), of, strict=True)

    def _view(self, index: int, length: int, document_ids: Tensor | None, device: torch.device) -> dict[str, Any]:
        """What a share of the heads sees: `causal`, or a mask (T, T), with documents (B, 1, T, T)."""
        pattern = self.layer.patterns[index]
        if document_ids is None and pattern.form == "causal":
            return {"causal": True}
        square = getattr(self.layer, f"mask_{index}", None)
        if square is None or len(square) < length:  # long
            square = _square(pattern, length, device)
        square = square[:length, :length]
        if document_ids is None:
            return {"mask": square}
        return {"mask": once(document_ids, ("mask", pattern), lambda: _inside_documents(pattern, square, document_ids))}

    def _flex(self, document_ids: Tensor | None) -> FlexMask:
        if document_ids is None:
            return self.flex_mask
        patterns, n_head = self.layer.patterns, self.layer.n_head

        def of_documents() -> FlexMask:
            return FlexMask(patterns, n_head, (numbers_of_documents(document_ids), places_in_documents(document_ids)))

        return once(document_ids, ("flex", patterns, n_head), of_documents)


def _square(pattern: Pattern, length: int, device: torch.device | None = None) -> Tensor:
    """(length, length), True where the row's query sees the column's key."""
    place = torch.arange(length, device=device)
    return pattern(place[:, None], place)


def _inside_documents(pattern: Pattern, square: Tensor, document_ids: Tensor) -> Tensor:
    """(B, 1, T, T): the pattern counted from each document's beginning."""
    if pattern.relative:
        return same_document(document_ids) & square
    inside = places_in_documents(document_ids)
    return same_document(document_ids) & pattern(inside[:, None, :, None], inside[:, None, None, :])
