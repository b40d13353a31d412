"""Masks of rows that hold several documents, built once a batch and shared by its layers."""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_built: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # document ids -> {what: built}; gone with the batch


def once(document_ids: Tensor, what: Hashable, build: Callable[[], Any]) -> Any:
    """`build()`, remembered under `what` for as long as `document_ids` lives; what it returns must not hold them."""
    if torch.compiler.is_compiling():
        return build()
    version = 0 if document_ids.is_inference() else document_ids._version
    built, key = _built.setdefault(document_ids, {}), (what, version, torch.is_inference_mode_enabled())
    if key not in built:
        built[key] = build()
    return built[key]


def places_in_documents(document_ids: Tensor) -> Tensor:
    """(B, T) place of each token inside its document; a document is a run of equal ids."""

    def build() -> Tensor:
        places = torch.arange(document_ids.shape[1], device=document_ids.device).expand_as(document_ids)
        opens = torch.ones_like(document_ids, dtype=torch.bool)
        opens[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
        return places - torch.where(opens, places, 0).cummax(dim=1).values

    return once(document_ids, "places", build)


def same_document(document_ids: Tensor) -> Tensor:
    """(B, 1, T, T), True where query and key are of one document."""
    return once(document_ids, "same", lambda: document_ids[:, None, :, None] == document_ids[:, None, None, :])
