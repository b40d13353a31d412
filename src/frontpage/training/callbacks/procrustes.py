"""ProcrustesMonitor: how alike the states of texts are between layers, updates, translations and runs."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from frontpage.command.errors import BadValue, UserError
from frontpage.command.limits import AtLeast, Count, Each, OneOf, Positive, Text
from frontpage.command.notices import notice
from frontpage.data.parallel.parallel_data import ParallelData
from frontpage.data.run_data import RunData
from frontpage.evaluation.representations.cka import linear_cka
from frontpage.evaluation.representations.procrustes import alignment
from frontpage.evaluation.representations.vectors import DegenerateVectors
from frontpage.recipe.training_module import TrainingModule
from frontpage.runs.checkpoint import weights_place
from frontpage.runs.reopen import load_run
from frontpage.runs.run import run_around
from frontpage.training.callbacks.monitor import Layers, Monitor, TextCount, mean_of
from frontpage.training.probes.states import undisturbed
from frontpage.training.probes.texts import ProbeText, drawn, probe_pairs, probe_texts

MODES = ("layers", "drift", "languages", "reference")
MEASURES = ("disparity", "shuffled", "gain", "cka")
LEAST = 3  # texts: two align in any case


class ProcrustesMonitor(Monitor):
    """Compares vectors of the same texts by Procrustes disparity and linear CKA; docs/monitors.md says what they mean.

    `modes`: `layers` each layer with the next one, `drift` each with itself at the measurement before, `languages` with
    itself on the same units in another of two `translations` (null: the first, and the first in another language),
    `reference` with itself in another run (`reference`: its directory or a checkpoint). A layer whose drift is below
    `tolerance` at `patience` measurements in a row has crystallised, until it is not. `scaling` and `reflections` are
    those of `disparity`, `shuffles` the orders behind the baseline. The other keys are those of Monitor.
    """

    name, key = "procrustes", "callbacks.procrustes"

    def __init__(
        self,
        path: Path | str,
        *,
        modes: Annotated[list[str], Each(OneOf(*MODES))],
        every: Count = 1000,
        texts: TextCount = 256,
        layers: Layers | None = None,
        translations: list[str] | None = None,
        reference: Text | None = None,
        scaling: bool = True,
        reflections: bool = True,
        shuffles: Annotated[int, AtLeast(1, 1000)] = 5,
        tolerance: Positive = 0.01,
        patience: Count = 3,
        **others: Any,
    ) -> None:
        super().__init__(path, every=every, texts=texts, layers=layers, **others)
        if not modes or any(mode not in MODES for mode in modes):
            raise ValueError(f"modes={modes}: one or more of {' '.join(MODES)}")
        if ("reference" in modes) != (reference is not None):
            raise ValueError(f"reference={reference}: a run or a checkpoint where modes has reference, else null")
        if translations is not None and len(translations) != 2:
            raise ValueError(f"translations={translations}: two of the corpus's, or null")
        self.modes, self.reference = [mode for mode in MODES if mode in modes], reference
        self.translations = None if translations is None else list(translations)
        self.least_layers = 2 if "layers" in modes else 1
        self.tolerance, self.patience = tolerance, patience
        self._how = {"scaling": scaling, "reflections": reflections, "shuffles": shuffles, "seed": self.seed}
        self._probe: list[ProbeText] = []
        self._pairs: list[tuple[ProbeText, ProbeText]] = []  # the same units in two translations
        self._reference: dict[int, Tensor] = {}
        self._previous: dict[int, Tensor] = {}  # of the probe, at the newest measurement
        self._probe_before: str | None = None  # what `_previous` was measured on
        self._below: dict[int, int] = {}  # measurements in a row whose drift was below the tolerance
        self._crystallised: dict[int, int] = {}  # since which update

    def choose(self, data: RunData) -> None:
        """Draw the texts, and for `languages` units that both translations have."""
        if {*self.modes} - {"languages"}:
            self._probe = self._enough(drawn(probe_texts(data), self.texts, self.seed), "texts")
        if "languages" in self.modes:
            self.translations = self._two_of(data)
            pairs = drawn(probe_pairs(data, *self.translations), self.texts, self.seed)
            self._pairs = self._enough(pairs, f"units that {' and '.join(self.translations)} both have")

    def check(self, data: RunData, module: TrainingModule, updates: int) -> None:
        """As any monitor; and measure the other run, once."""
        super().check(data, module, updates)
        if self.reference is not None:
            with torch.random.fork_rng(devices=[]):  # a net is drawn before its weights are read
                self._reference = self._of_reference(data)

    def measure(self, module: TrainingModule, data: RunData, step: int) -> list[dict[str, Any]]:
        """A row for each pair of layers of each mode."""
        vectors = self.vectors(module.net, data, self._probe, data.tokenizer) if self._probe else {}
        layers, rows = [*vectors], []
        for mode in self.modes:
            if mode == "layers":
                pairs = zip(layers, layers[1:], strict=False)
                rows += [
                    {"mode": mode, "layer": one, "other": other} | self._compared(vectors[one], vectors[other], step)
                    for one, other in pairs
                ]
            elif mode == "drift":
                rows += self._drift(vectors, step)
            elif mode == "languages":
                sides = [
                    self.vectors(module.net, data, side, data.tokenizer) for side in zip(*self._pairs, strict=True)
                ]
                rows += self._layer_by_layer(mode, *sides, step)
            else:
                rows += self._layer_by_layer(mode, vectors, self._reference, step)
        return rows

    def scalars(self, rows: list[dict[str, Any]]) -> Iterator[tuple[str, float | None]]:
        """Of each mode the means, of each pair the disparity and the gain, and since when a layer has crystallised."""
        for mode in self.modes:
            some = [row for row in rows if row["mode"] == mode]
            yield from ((f"{mode}/{measure}", mean_of(some, measure)) for measure in MEASURES)
            for row in some:
                place = f"{row['layer']}-{row['other']}" if "other" in row else row["layer"]
                yield from ((f"{mode}/{measure}/{place}", row[measure]) for measure in ("disparity", "gain"))
                yield f"{mode}/crystallised_at/{place}", row.get("crystallised_at")

    def about(self) -> dict[str, Any]:
        """How many texts, and which translations."""
        translations = {"translations": self.translations, "units": len(self._pairs)} if self._pairs else {}
        return {"texts": len(self._probe)} | translations

    def state_dict(self) -> dict[str, Any]:
        """The vectors that drift is measured from, and what has crystallised."""
        found = {"probe": self._probe_before or "", "previous": self._previous}
        return super().state_dict() | found | {"below": self._below, "crystallised": self._crystallised}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from them; a notice where they are of other texts, from which no drift can be measured."""
        super().load_state_dict(state_dict)
        if state_dict["probe"] and state_dict["probe"] != self._fingerprint():
            notice(f"{self.key}: the run was measured on other texts or layers before; drift starts anew")
            return
        self._probe_before, self._previous = state_dict["probe"] or None, dict(state_dict["previous"])
        self._below, self._crystallised = dict(state_dict["below"]), dict(state_dict["crystallised"])

    def _compared(self, x: Tensor, y: Tensor, step: int) -> dict[str, float | None]:
        try:
            return alignment(x, y, **self._how)._asdict() | {"cka": linear_cka(x, y)}
        except DegenerateVectors as error:
            self.say_once(str(error), step)
            return dict.fromkeys(MEASURES)

    def _layer_by_layer(
        self, mode: str, one: dict[int, Tensor], other: dict[int, Tensor], step: int
    ) -> list[dict[str, Any]]:
        return [{"mode": mode, "layer": layer} | self._compared(one[layer], other[layer], step) for layer in one]

    def _drift(self, vectors: dict[int, Tensor], step: int) -> list[dict[str, Any]]:
        """Rows once there is a measurement before, which these vectors now are."""
        rows = self._layer_by_layer("drift", vectors, self._previous, step) if self._previous else []
        for row in rows:
            layer, drift = row["layer"], row["disparity"]
            still = drift is not None and drift < self.tolerance
            self._below[layer] = self._below.get(layer, 0) + 1 if still else 0
            if not still:
                self._crystallised.pop(layer, None)
            elif self._below[layer] >= self.patience:
                self._crystallised.setdefault(layer, step)
            row["crystallised_at"] = self._crystallised.get(layer)
        self._previous, self._probe_before = vectors, self._fingerprint()
        return rows

    def _fingerprint(self) -> str:
        """What vectors depend on beside the weights."""
        content = repr((self.pooling, self._chosen, [one.text for one in self._probe]))
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def _enough(self, found: list[Any], what: str) -> list[Any]:
        if len(found) < LEAST:
            raise BadValue(f"{self.key}.texts", self.texts, f"the validation set has {len(found)} {what}, not {LEAST}")
        if len(found) < self.texts:
            notice(f"{self.key}.texts={self.texts}: the validation set has {len(found)} {what}; all are taken")
        return found

    def _two_of(self, data: RunData) -> list[str]:
        """The two translations; UserError where a corpus has not two, or not these."""
        if not isinstance(data, ParallelData) or len(data.text.texts) < 2:
            allowed = "languages compares a text's translations, and this corpus has not two; data=parallel or bible"
            raise BadValue(f"{self.key}.modes", self.modes, allowed)
        languages = data.text.languages
        if self.translations is None:
            first, *rest = languages
            return [first, next((one for one in rest if languages[one] != languages[first]), rest[0])]
        if {*self.translations} - {*languages} or len({*self.translations}) < 2:
            raise BadValue(f"{self.key}.translations", self.translations, f"two of {' '.join(languages)}, or null")
        return self.translations

    def _of_reference(self, data: RunData) -> dict[int, Tensor]:
        """The vectors of the other run, which reads the texts by its own tokenizer."""
        path = weights_place(self.reference, f"{self.key}.reference")
        try:
            _, other = load_run(run_around(path).path, str(path))
        except UserError as error:
            raise BadValue(f"{self.key}.reference", self.reference, str(error)) from error
        last = len(other.net.blocks)
        if self._chosen[-1] > last:
            allowed = f"its last layer is {last}, this run's {self._chosen[-1]}; {self.key}.layers chooses some"
            raise BadValue(f"{self.key}.reference", self.reference, allowed)
        with undisturbed(other.net):
            return self.vectors(other.net, data, self._probe, other.tokenizer)
