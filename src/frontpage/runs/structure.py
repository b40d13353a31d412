"""How nested states are compared: by keys, kinds, shapes and types."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

NUMBERS = (int, float)


def unlike(saved: Any, expected: Any, where: str) -> Iterator[str]:
    """In what a nested state differs from one that is as it should be: keys, kinds, shapes and types, not numbers.

    An empty list or dictionary stands for one of any content, None for any plain value.
    """
    if isinstance(expected, Tensor):
        if not isinstance(saved, Tensor):
            yield f"{where} is {kind_of(saved)}, not a tensor"
        elif (saved.shape, saved.dtype) != (expected.shape, expected.dtype):
            yield f"{where} is {kind_of(saved)}, not {kind_of(expected)}"
    elif isinstance(expected, Mapping):
        if not isinstance(saved, Mapping):
            yield f"{where} is {kind_of(saved)}, not a dictionary"
        elif expected:
            yield from (f"{where} lacks {key}" for key in expected if key not in saved)
            yield from (f"{where} has a {key} too many" for key in saved if key not in expected)
            for key in expected.keys() & saved.keys():
                yield from unlike(saved[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        if not isinstance(saved, list | tuple):
            yield f"{where} is {kind_of(saved)}, not a list"
        elif expected and len(saved) != len(expected):
            yield f"{where} has {len(saved)} parts, not {len(expected)}"
        elif expected:
            for index, (one, other) in enumerate(zip(saved, expected, strict=True)):
                yield from unlike(one, other, f"{where}.{index}")
    elif expected is not None:
        numbers = isinstance(expected, float) and type(saved) in NUMBERS  # 0 may stand for 0.0
        if type(saved) is not type(expected) and not numbers:
            yield f"{where} is {kind_of(saved)}, not {kind_of(expected)}"


def kind_of(value: Any) -> str:
    """A value's kind as a message shows it."""
    if isinstance(value, Tensor):
        shape = "x".join(map(str, value.shape)) or "one number"
        return f"{shape} of {str(value.dtype).removeprefix('torch.')}"
    return "nothing" if value is None else f"a {type(value).__name__}"


def unlike_numbers(saved: Any, where: str) -> Iterator[str]:
    """What of a dictionary of metrics is neither a number nor None."""
    if not isinstance(saved, Mapping):
        yield f"{where} is {kind_of(saved)}, not a dictionary"
        return
    for name, value in saved.items():
        if value is not None and type(value) not in NUMBERS:
            yield f"{where}.{name} is {kind_of(value)}, not a number"
