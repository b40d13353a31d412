"""ShiftedKeys: a part of each key is that of the token before."""

from typing import Any

import torch
from torch import Tensor

from frontpage.attention.parts.documents import places_in_documents
from frontpage.attention.parts.head_addition import HeadAddition
from frontpage.attention.parts.projected import ProjectedAttention


class ShiftedKeys(HeadAddition):
    """The numbers of a key that rotary positions leave as they are come from the token before, in the same document.

    A query finds by them what came after a token that it looks for. The first token of a document keeps its own.
    """

    def __init__(self, attention: ProjectedAttention) -> None:
        super().__init__()
        self.n_kv_head, self.turned = attention.n_kv_head, attention.rotary.turned
        self.shifted = attention.head_width - self.turned

    def keys(self, k: Tensor, document_ids: Tensor | None, cache: Any) -> Tensor:
        """(B, Hkv, T, D) -> (B, Hkv, T, D)."""
        turned, own = k.split((self.turned, self.shifted), dim=-1)
        newest = None if cache is None else cache.newest_key
        before = torch.cat((own[:, :, :1] if newest is None else newest, own[:, :, :-1]), dim=2)
        if document_ids is not None:
            opens = places_in_documents(document_ids) == 0
            before = torch.where(opens[:, None, :, None], own, before)
        if cache is not None:
            cache.newest_key = own[:, :, -1:].clone()  # not a view, which would keep all of `k`
        return torch.cat((turned, before), dim=-1)

    def cache_numbers(self, length: int) -> int:
        """Those of one token."""
        return self.n_kv_head * self.shifted if length else 0
