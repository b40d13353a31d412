"""A pattern drawn in text."""

from collections.abc import Callable

import torch
from torch import Tensor


def picture(pattern: Callable[[Tensor, Tensor], Tensor], length: int) -> str:
    """Rows are queries, columns keys, `#` where the query sees the key; `pattern(query, key)` takes their places."""
    seen = pattern(torch.arange(length)[:, None], torch.arange(length))
    return "\n".join("".join("#" if one else "." for one in row) for row in seen.tolist())
