"""Infeasible: a point of the space that cannot be run, found before it trains."""


class Infeasible(Exception):
    """A trial is not run: the message says why; it does not count as a failure of the search.

    A `custom_search_space` raises it for a point that breaks a constraint.
    """

    estimated_memory_bytes: int | None = None
