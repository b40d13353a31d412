"""Monitor: what is measured of a net's states on fixed texts, at fixed updates, without a trace in training."""

import json
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import lightning as L
from torch import Tensor, nn

from frontpage.command.disk_full import writing
from frontpage.command.errors import BadValue, UserError
from frontpage.command.limits import AtLeast, Count, OneOf, Seed
from frontpage.command.notices import notice
from frontpage.data.run_data import RunData
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.models.text_heads import POOLINGS
from frontpage.recipe.sharded_nets import gathered
from frontpage.recipe.training_module import TrainingModule
from frontpage.runs.kept_lines import keep_lines
from frontpage.runs.structure import unlike
from frontpage.training.callbacks.run_clock import clock_of
from frontpage.training.probes.states import text_vectors, token_rows, undisturbed
from frontpage.training.probes.texts import ProbeText

Layers = list[Annotated[int, AtLeast(0)]]
TextCount = Annotated[int, AtLeast(4)]


class Monitor(L.Callback):
    """After every `every` updates the main process measures, logs, and appends a line to `path`.

    `layers` (null: all) are those of `Decoder.layer_states`, 0 being the embedding. Of a text each has a vector, the
    `mean` over its tokens or its `last` one's. `texts` are drawn once from the validation set, by `seed`. The weights
    are those as trained, even where averaged ones are validated. Raises UserError (`check`).
    """

    name: str  # of its metrics, `monitors/<name>/...`
    key: str  # of its node in the config
    least_layers = 1

    def __init__(
        self,
        path: Path | str,
        *,
        every: Count,
        texts: TextCount,
        layers: Layers | None = None,
        pooling: Annotated[str, OneOf(*POOLINGS)] = "mean",
        seed: Seed = 0,
    ) -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling}: one of {' '.join(POOLINGS)}")
        self.path, self.every, self.texts = Path(path), every, texts
        self.layers, self.pooling, self.seed = layers, pooling, seed
        self.idle = False  # whether the corpus has nothing to measure
        self.measured_at = 0  # the newest update that was measured
        self.newest: dict[str, float] = {}  # what was logged of it, in the main process
        self._chosen: list[int] | None = None  # layers of this run's net, once it has been checked
        self._told: set[str] = set()

    # What a subclass says.

    @abstractmethod
    def choose(self, data: RunData) -> None:
        """Choose the texts; raises UserError where there are none of the kind."""

    @abstractmethod
    def measure(self, module: TrainingModule, data: RunData, step: int) -> list[dict[str, Any]]:
        """The measurements at an update, a row each; None or NaN stands for what has no value."""

    @abstractmethod
    def scalars(self, rows: list[dict[str, Any]]) -> Iterator[tuple[str, float | None]]:
        """What of these rows is logged, by names below the monitor's own."""

    def about(self) -> dict[str, Any]:
        """What a line says beside its rows."""
        return {}

    # What all monitors do.

    def check(self, data: RunData, module: TrainingModule, updates: int) -> None:
        """Raise a UserError for what cannot be measured in a run of so many `updates`; choose the texts."""
        net = module.net
        if not hasattr(net, "layer_states"):
            raise UserError(f"{self.key}: {type(net).__name__} has no layer_states, which is what it looks at")
        last = len(net.blocks)
        for layer in self.layers or []:
            if not 0 <= layer <= last:
                raise BadValue(f"{self.key}.layers", self.layers, f"from 0, the embedding, to {last}, the last block")
        chosen = sorted({*(range(last + 1) if self.layers is None else self.layers)})
        if len(chosen) < self.least_layers:
            raise BadValue(f"{self.key}.layers", self.layers, f"at least {self.least_layers}, or null for all")
        if updates < self.every:
            notice(f"{self.key}.every={self.every}: the run has {updates} updates, so nothing is measured")
        self.choose(data)
        self._chosen = chosen

    def rewind(self, step: int) -> None:
        """Forget the updates behind `step`: a run that continues there measures them again."""
        keep_lines(self.path, lambda line: json.loads(line)["step"] <= step)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make up for a measurement that a signal has come before, in the order of the callbacks."""
        if self._is_due(trainer.global_step) and self.measured_at < trainer.global_step:
            self._evaluate(trainer, pl_module)

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure if it is time, before the update's checkpoint is written."""
        if self._is_due(trainer.global_step):
            self._evaluate(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on needs."""
        return {"measured_at": self.measured_at, "newest": self.newest}

    def unlike_state(self, saved: Any, where: str) -> Iterator[str]:
        """In what a checkpoint's state is none of this monitor; older ones do not say what was measured last."""
        saved = {"newest": {}, **saved} if isinstance(saved, Mapping) else saved
        yield from unlike(saved, self.state_dict(), where)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self.measured_at, self.newest = state_dict["measured_at"], dict(state_dict.get("newest", {}))

    def vectors(
        self, net: nn.Module, data: RunData, texts: Sequence[ProbeText], tokenizer: TitleTokenizer
    ) -> dict[int, Tensor]:
        """Of each chosen layer the vectors of texts (n, W), as many read at once as a training batch has rows."""
        rows = token_rows([one.text for one in texts], tokenizer, net.block_size)
        how = {"pooling": self.pooling, "pad_id": tokenizer.pad_id, "at_once": data.batch_size}
        return text_vectors(net, rows, self._chosen, **how)

    def say_once(self, problem: str, step: int) -> None:
        """A notice about what has no value, the first time."""
        if problem not in self._told:
            self._told.add(problem)
            notice(f"{self.key}: not measured at update {step}: {problem}")

    def _is_due(self, step: int) -> bool:
        return not self.idle and step > 0 and step % self.every == 0

    def _evaluate(self, trainer: L.Trainer, module: TrainingModule) -> None:
        """Every process takes part: it may have to bring its rows of the weights."""
        self.measured_at = step = trainer.global_step
        with clock_of(trainer).paused(), gathered(module.net):
            if trainer.is_global_zero:
                self._measure_and_tell(trainer, module, step)

    def _measure_and_tell(self, trainer: L.Trainer, module: TrainingModule, step: int) -> None:
        with undisturbed(module.net):
            rows = self.measure(module, trainer.datamodule, step)
        line = {"monitor": self.name, "step": step, **self.about(), "rows": [_plain(row) for row in rows]}
        self._write(line)
        found = {f"monitors/{self.name}/{name}": value for name, value in self.scalars(rows) if _is_number(value)}
        self.newest = found
        trainer._logger_connector.log_metrics(found, step=step - 1)  # beside the update's training step

    def _write(self, line: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")


def mean_of(rows: list[dict[str, Any]], name: str) -> float | None:
    """The mean of what rows have under a name, of those that have a value."""
    values = [row[name] for row in rows if _is_number(row.get(name))]
    return sum(values) / len(values) if values else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """A row as strict JSON: null for what is no finite number."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
