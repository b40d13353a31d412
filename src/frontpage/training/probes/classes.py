"""Texts that fall into classes, as many of each."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from frontpage.training.probes.concepts import Words, concepts_in
from frontpage.training.probes.texts import ProbeText, drawn

KINDS = ("concepts", "book", "language")
SEVERAL = ("drop", "repeat")


class Classes(NamedTuple):
    """n texts with their classes, the same number of each."""

    names: list[str]
    texts: list[ProbeText]
    labels: Tensor  # (n,) int64, the place of each text's class in `names`


class TooFew(ValueError):
    """Texts that do not make two classes; `sizes` says how many each would have."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = dict(sizes)
        super().__init__(", ".join(f"{name} {size}" for name, size in sizes.items()) or "none")


def members(
    texts: Sequence[ProbeText], kind: str, concepts: Mapping[str, Words], several: str
) -> dict[str, list[ProbeText]]:
    """The texts of each class: of a concept, of a book, of a language.

    Under `several=drop` a text of two concepts is in no class, under `repeat` in both. Books and languages stand in the
    order of the texts.
    """
    found: dict[str, list[ProbeText]] = {name: [] for name in concepts} if kind == "concepts" else {}
    for one in texts:
        if kind == "concepts":
            names = concepts_in(one.text, one.language, concepts)
            names = names if several == "repeat" or len(names) == 1 else []
        else:
            name = one.book if kind == "book" else one.language
            names = [] if name is None else [name]
        for name in names:
            found.setdefault(name, []).append(one)
    return found


def balanced(found: Mapping[str, Sequence[ProbeText]], count: int, least: int, seed: int) -> Classes:
    """At most `count` texts in all, as many of each class that has `least`; TooFew where no two classes have."""
    large = {name: texts for name, texts in found.items() if len(texts) >= least}
    if len(large) < 2:
        raise TooFew({name: len(texts) for name, texts in found.items()})
    each = max(min(count // len(large), *map(len, large.values())), 2)
    chosen = [drawn(texts, each, seed) for texts in large.values()]
    labels = torch.arange(len(large)).repeat_interleave(each)
    return Classes(list(large), [text for some in chosen for text in some], labels)
