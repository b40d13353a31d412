"""The texts of a run's validation set that a probe is drawn from."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch

from frontpage.data.parallel.parallel_data import VALIDATION, ParallelData
from frontpage.data.run_data import RunData

One = TypeVar("One")


class ProbeText(NamedTuple):
    """A text, and what its corpus knows of it: None where that is nothing."""

    text: str
    language: str | None = None
    book: str | None = None


def probe_texts(data: RunData) -> list[ProbeText]:
    """Every text of the validation set: titles, or of a parallel corpus each unit in each translation."""
    if not isinstance(data, ParallelData):
        return [ProbeText(text) for text in data.validation_texts()]
    side, names = data.sides[VALIDATION], data.text.book_names
    return [
        ProbeText(text, data.text.languages[translation], names[book])
        for translation, texts in zip(side.translations, side.texts, strict=True)
        for text, book in zip(texts, side.books.tolist(), strict=True)
        if text
    ]


def probe_pairs(data: ParallelData, one: str, other: str) -> list[tuple[ProbeText, ProbeText]]:
    """Every unit of the validation set that both translations have."""
    side = data.sides[VALIDATION]
    languages = data.text.languages[one], data.text.languages[other]
    of_one, of_other = (side.texts[side.translations.index(name)] for name in (one, other))
    return [
        (ProbeText(first, languages[0]), ProbeText(second, languages[1]))
        for first, second in zip(of_one, of_other, strict=True)
        if first and second
    ]


def drawn(texts: Sequence[One], count: int, seed: int) -> list[One]:
    """`count` of the texts, in their order, or all where there are no more; a seed always draws the same."""
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed))[:count]
    return [texts[index] for index in sorted(order.tolist())]
