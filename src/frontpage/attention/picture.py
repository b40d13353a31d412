"""A mask drawn in text."""

from torch import Tensor


def picture(mask: Tensor) -> str:
    """Rows are queries, columns keys; `#` where mask (T, T) is True."""
    return "\n".join("".join("#" if seen else "." for seen in row) for row in mask.tolist())
