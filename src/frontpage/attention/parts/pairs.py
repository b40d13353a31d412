"""How many pairs of a query and a key there are."""


def triangle(length: int) -> int:
    """Pairs of a query and a key up to it."""
    return length * (length + 1) // 2
