"""Masks of rows that hold several documents, built once a batch and shared by its layers."""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
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


def opens(document_ids: Tensor) -> Tensor:
    """(B, T), True where a document begins, which is a run of equal ids."""
    return F.pad(document_ids[:, 1:] != document_ids[:, :-1], (1, 0), value=True)


def numbers_of_documents(document_ids: Tensor) -> Tensor:
    """(B, T): how many documents of the row have begun, which tells them apart where an id comes again."""
    return once(document_ids, "numbers", lambda: opens(document_ids).cumsum(1))


def places_in_documents(document_ids: Tensor) -> Tensor:
    """(B, T) place of each token inside its document."""

    def build() -> Tensor:
        places = torch.arange(document_ids.shape[1], device=document_ids.device).expand_as(document_ids)
        return places - torch.where(opens(document_ids), places, 0).cummax(dim=1).values

    return once(document_ids, "places", build)


def same_document(document_ids: Tensor) -> Tensor:
    """(B, 1, T, T), True where query and key are of one document."""

    def build() -> Tensor:
        numbers = numbers_of_documents(document_ids)
        return numbers[:, None, :, None] == numbers[:, None, None, :]

    return once(document_ids, "same", build)
