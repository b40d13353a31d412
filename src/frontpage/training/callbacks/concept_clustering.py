"""ConceptClusteringMonitor: how texts that speak of the same thing lie together, layer by layer."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from frontpage.command.errors import BadValue
from frontpage.command.limits import AtLeast, Count, OneOf
from frontpage.command.notices import notice
from frontpage.data.parallel.parallel_data import ParallelData
from frontpage.data.run_data import RunData
from frontpage.evaluation.representations.agreement import adjusted_rand, normalised_mutual_information, purity
from frontpage.evaluation.representations.kmeans import kmeans
from frontpage.evaluation.representations.linear_probe import linear_probe
from frontpage.evaluation.representations.silhouettes import silhouettes
from frontpage.evaluation.representations.spectrum import anisotropy, effective_rank
from frontpage.evaluation.representations.vectors import DegenerateVectors, unit_rows
from frontpage.recipe.training_module import TrainingModule
from frontpage.training.callbacks.monitor import Layers, Monitor, TextCount, mean_of
from frontpage.training.probes.classes import KINDS, SEVERAL, Classes, TooFew, balanced, members
from frontpage.training.probes.concepts import BIBLE, TITLES, check_concepts
from frontpage.training.probes.texts import probe_texts

MEASURES = (
    "silhouette",
    "silhouette_permuted",
    "silhouette_z",
    "nmi",
    "ari",
    "purity",
    "linear_probe",
    "effective_rank",
    "anisotropy",
)


class ConceptClusteringMonitor(Monitor):
    """Measures how classes of texts separate; docs/monitors.md says what each number means.

    `labels` tells the classes: `concepts`, which texts name by their words, the `last_word` (of arithmetic, the
    answer), `book` or `language` of a parallel corpus. `concepts` maps names to words, or to words by language; null:
    those of titles, or of the Bible. Where a corpus lacks all classes that nobody has spelled out, nothing is measured,
    and a notice says so. A text that names two is left out (`several=drop`) or in both classes (`repeat`). Each class
    has as many texts, at most `texts` in all (yet two of each); one that has fewer than `least` is left out. The other
    keys are those of Monitor.
    """

    name, key = "concepts", "callbacks.concept_clustering"

    def __init__(
        self,
        path: Path | str,
        *,
        every: Count = 2000,
        texts: TextCount = 256,
        layers: Layers | None = None,
        labels: Annotated[str, OneOf(*KINDS)] = "concepts",
        concepts: dict[str, Any] | None = None,
        several: Annotated[str, OneOf(*SEVERAL)] = "drop",
        least: Annotated[int, AtLeast(2)] = 10,
        permutations: Annotated[int, AtLeast(2, 1000)] = 10,
        **others: Any,
    ) -> None:
        super().__init__(path, every=every, texts=texts, layers=layers, **others)
        for key, value, allowed in (("labels", labels, KINDS), ("several", several, SEVERAL)):
            if value not in allowed:
                raise ValueError(f"{key}={value}: one of {' '.join(allowed)}")
        if concepts is not None:
            check_concepts(concepts)
        self.labels, self.concepts, self.several = labels, concepts, several
        self.least, self.permutations = least, permutations
        self._classes: Classes | None = None

    def choose(self, data: RunData) -> None:
        """Look for the classes in the validation set."""
        if self.labels in ("book", "language") and not isinstance(data, ParallelData):
            allowed = "concepts or last_word, since titles have no book and no language"
            raise BadValue(f"{self.key}.labels", self.labels, allowed)
        concepts = self.concepts or (BIBLE if isinstance(data, ParallelData) else TITLES)
        found = members(probe_texts(data), self.labels, concepts, self.several)
        try:
            self._classes = balanced(found, self.texts, self.least, self.seed)
        except TooFew as error:
            if self.concepts is None:
                named = f"{self.key}.labels={self.labels}: no two classes have {self.least} texts (least)"
                notice(f"{named} in the validation set, so nothing is measured")
                self.idle = True
                return
            allowed = f"two classes of {self.least} texts (least) are needed; the validation set has {error}"
            raise BadValue(f"{self.key}.concepts", self.concepts, allowed) from error
        left = [name for name in found if name not in self._classes.names]
        if left:
            notice(f"{self.key}.least={self.least}: fewer texts of {', '.join(left)}, which are left out")

    def measure(self, module: TrainingModule, data: RunData, step: int) -> list[dict[str, Any]]:
        """A row for each layer."""
        vectors = self.vectors(module.net, data, self._classes.texts, data.tokenizer)
        return [{"layer": layer} | self._of_layer(found, step) for layer, found in vectors.items()]

    def scalars(self, rows: list[dict[str, Any]]) -> Iterator[tuple[str, float | None]]:
        """The means over layers, and of each layer what tells most."""
        yield from ((measure, mean_of(rows, measure)) for measure in MEASURES)
        for row in rows:
            yield from ((f"{name}/{row['layer']}", row[name]) for name in ("silhouette", "silhouette_z", "nmi"))

    def about(self) -> dict[str, Any]:
        """The classes, and how many texts."""
        return {"labels": self.labels, "classes": self._classes.names, "texts": len(self._classes.texts)}

    def _of_layer(self, vectors: Tensor, step: int) -> dict[str, Any]:
        names, labels = self._classes.names, self._classes.labels
        try:
            rows = unit_rows(vectors)
            found = silhouettes(rows, labels, permutations=self.permutations, seed=self.seed)
            clusters = kmeans(rows, len(names), seed=self.seed)
            values = (
                found.mean,
                found.permuted,
                found.z,
                normalised_mutual_information(clusters, labels),
                adjusted_rand(clusters, labels),
                purity(clusters, labels),
                linear_probe(rows, labels, seed=self.seed),
                effective_rank(rows),
                anisotropy(rows),
            )
            of_classes = found.of_classes
        except DegenerateVectors as error:
            self.say_once(str(error), step)
            values, of_classes = [math.nan] * len(MEASURES), [math.nan] * len(names)
        return dict(zip(MEASURES, values, strict=True)) | {"silhouettes": dict(zip(names, of_classes, strict=True))}
