"""Which keys each query sees, as lists that are as long as there are such keys: no square of queries and keys.

B rows, T queries, S keys of which the queries are the last T, P patterns that share the heads in equal runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontpage.attention.kernels.pattern_runs import runs
from frontpage.attention.parts.documents import once, places_in_documents
from frontpage.attention.parts.pattern import Pattern


@dataclass(frozen=True)
class ListedKeys:
    """A query sees all keys from `near` up to its own, and before these `count` runs, or the first `count` of `chosen`.

    `near`, `first` and `count` are (P, 1 or B, T), `chosen` (B, T, k) with ascending tokens in its used columns; all of
    them are int32. The runs of a pattern are `lengths` tokens each, the first one from `first` on, and begin `periods`
    tokens apart.
    """

    near: Tensor
    first: Tensor
    count: Tensor
    lengths: tuple[int, ...]
    periods: tuple[int, ...]
    chosen: Tensor | None = None

    def mask(self, begin: int, end: int, earlier: int = 0) -> Tensor:
        """(P, 1 or B, end - begin, earlier + end), True where the queries from `begin` to `end` see a key of a run.

        `earlier` is S - T; keys after the last of these queries are left out.
        """
        keys = earlier + end
        key = torch.arange(keys, device=self.near.device)
        own = key[begin - end :, None]
        near, first, count = (part[:, :, begin:end, None] for part in (self.near, self.first, self.count))
        seen = (key >= near) & (key <= own)
        lengths, periods = (key.new_tensor(sizes).view(-1, 1, 1, 1) for sizes in (self.lengths, self.periods))
        beyond = key - first
        run = beyond.div(periods, rounding_mode="floor")
        return seen | ((run >= 0) & (run < count) & (beyond - run * periods < lengths))


def list_keys(
    patterns: Sequence[Pattern], length: int, document_ids: Tensor | None, device: torch.device
) -> ListedKeys:
    """What `patterns`, all of which have runs, show of `length` tokens; counted from each document's beginning."""
    if document_ids is None:
        return _at(patterns, torch.arange(length, device=device)[None])
    return once(document_ids, ("keys", *patterns), lambda: _at(patterns, places_in_documents(document_ids)))


def _at(patterns: Sequence[Pattern], places: Tensor) -> ListedKeys:
    """For tokens at these places (1 or B, T) of their documents."""
    begins = torch.arange(places.shape[1], device=places.device) - places
    seen = [runs(pattern, places) for pattern in patterns]
    near, first = (torch.stack([getattr(one, name) + begins for one in seen]).int() for name in ("near", "first"))
    count = torch.stack([one.count for one in seen]).int()
    return ListedKeys(near, first, count, tuple(one.length for one in seen), tuple(one.period for one in seen))
