"""A run's directory, written and reopened: `from frontpage.runs import load_run`."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`load_run` on demand: it needs models, and most of this folder does not."""
    if name == "load_run":
        from frontpage.runs.reopen import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
