"""ParallelRows: a validation of several tasks, on a fixed set of examples."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from frontpage.data.parallel.examples import DrawsExamples, Examples, Texts
from frontpage.data.scoring_rows import ScoringRows


class ParallelRows:
    """Every token of every held-out document once, and every example of every task, in turns.

    With several processes each has its share of the documents and all of the examples, which are few: their metrics
    compare each with each.
    """

    def __init__(
        self,
        documents: ScoringRows,
        examples: Mapping[str, Examples],
        texts: Texts,
        tasks: Mapping[str, tuple[DrawsExamples, int]],
        batch_tokens: int,
    ) -> None:
        """`tasks` by name, and of each the examples of a micro-batch of training."""
        self.documents, self.examples, self.texts, self.tasks = documents, examples, texts, tasks
        self._parts = {name: self._cut(one, *tasks[name], batch_tokens) for name, one in examples.items()}

    def _cut(self, examples: Examples, task: DrawsExamples, trained: int, batch_tokens: int) -> list[slice]:
        """Batches as large as training's where a loss compares their examples, else of so many tokens."""
        rows = max(batch_tokens // (self.texts.longest * examples.places.shape[1]), 1)
        rows = trained if task.compares else rows
        return [slice(start, start + rows) for start in range(0, len(examples.places), rows)]

    def __len__(self) -> int:
        return len(self.documents) + sum(map(len, self._parts.values()))

    def __iter__(self) -> Iterator[Any]:
        batches = [iter(self.documents), *(self._of(name) for name in self._parts)]
        for turn in zip_longest(*batches):
            yield from (batch for batch in turn if batch is not None)

    def _of(self, name: str) -> Iterator[Any]:
        task, _ = self.tasks[name]
        return (self.texts.batch(self.examples[name], name, task, part) for part in self._parts[name])
