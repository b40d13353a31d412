"""GrokkingSignals: how many of several metrics change all of a sudden together."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import lightning as L
from tqdm import tqdm

from frontpage.command.errors import BadValue, UserError, nearest
from frontpage.command.limits import Amount, AtLeast, Count, Positive
from frontpage.data.run_data import RunData
from frontpage.evaluation.declared import MODES
from frontpage.evaluation.grokking import GrokkingRule
from frontpage.evaluation.transitions import CANDIDATE, REJECTED
from frontpage.recipe.training_module import TrainingModule
from frontpage.training.callbacks.event_log import EventLog
from frontpage.training.callbacks.grokking_detector import check_windows
from frontpage.training.callbacks.monitor import Monitor

KEY = "callbacks.grokking_signals"
ONE_SIGNAL = ("val/loss", "val/perplexity", "val/nats_per_char", "val/bits_per_byte")  # say the same in other units


class GrokkingSignals(L.Callback):
    """Tells when `needed` of `signals` have changed for the better within `within` updates, each by its GrokkingRule.

    `signals` has metrics of validations, or of a monitor (`monitors/...`), and for each `min` or `max`, which value is
    better; null: the headline, and the accuracy of each task. `needed` null: more than half of them. Only sudden
    changes count that have not been rejected since. The count is logged as `grokking/signals`; an event
    `grokking_signals` is written each time that it reaches `needed`. `check` raises UserError.
    """

    def __init__(
        self,
        signals: Mapping[str, str] | None = None,
        needed: Count | None = None,
        within: Count = 1000,
        patience: Count = 1000,
        window: Count = 500,
        threshold: Positive = 0.10,
        plateau_tol: Positive = 0.02,
        z_min: Amount = 3.0,
        confirm: Count = 1000,
        min_points: Annotated[int, AtLeast(2)] = 3,
    ) -> None:
        wrong = {name: mode for name, mode in (signals or {}).items() if mode not in MODES.values()}
        if wrong:
            raise BadValue(f"{KEY}.signals", dict(wrong), "for each metric min or max, which value is better")
        self.signals, self.needed, self.within = None if signals is None else dict(signals), needed, within
        self.lengths = (patience, window, threshold, plateau_tol, z_min, confirm, min_points)
        self.rules: dict[str, GrokkingRule] = {}  # of each signal, once a run's metrics are known
        self.changed: dict[str, int] = {}  # update of the newest sudden change of each
        self.together = False  # whether as many as needed agree now
        self._taken: dict[str, int] = {}  # update of the newest value of each

    def check(self, trainer: L.Trainer, data: RunData, module: TrainingModule, updates: int) -> None:
        """Raise a UserError for metrics that this run does not have, for one in two units, and for short windows."""
        signals = _of(module) if self.signals is None else self.signals
        known = module.monitored_names()
        monitors = tuple(f"monitors/{one.name}/" for one in trainer.callbacks if isinstance(one, Monitor))
        for name in signals:
            if name not in known and not (monitors and name.startswith(monitors)):
                raise BadValue(f"{KEY}.signals", name, f"one of {' '.join(known)}{nearest(name, known)}")
        same = [name for name in signals if name in ONE_SIGNAL]
        if len(same) > 1:
            raise BadValue(f"{KEY}.signals", " ".join(same), "one of them: they are one number in other units")
        if len(signals) < 2 or not 0 < (self.needed or 1) <= len(signals):
            least = f"{self.needed} of {len(signals)}" if self.needed else f"{len(signals)}"
            raise UserError(f"{KEY}: {least} signals: name at least two, and as many as are needed, in {KEY}.signals")
        self.rules = {name: GrokkingRule(*self.lengths, higher=mode == "max") for name, mode in signals.items()}
        check_windows(KEY, next(iter(self.rules.values())).watch.rule, trainer, data, updates)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the newest values in, and count."""
        if trainer.state.fn != "fit":
            return
        for name, step, value in self._newest(trainer, pl_module):
            if step > self._taken.get(name, -1):
                self._taken[name] = step
                verdict = self.rules[name].observe(step, value)
                if verdict == CANDIDATE:
                    self.changed[name] = step
                if verdict == REJECTED:
                    self.changed.pop(name, None)
        step = trainer.global_step
        agreeing = {name: at for name, at in self.changed.items() if at > step - self.within}
        trainer._logger_connector.log_metrics({"grokking/signals": float(len(agreeing))})
        before, self.together = self.together, len(agreeing) >= self._needed
        if self.together and not before:
            self._tell(trainer, agreeing)

    @property
    def _needed(self) -> int:
        return self.needed or len(self.rules) // 2 + 1

    def _newest(self, trainer: L.Trainer, module: TrainingModule) -> Iterator[tuple[str, int, float]]:
        """Of each signal that has a value the update that this is of, and the value."""
        measured = {name: (trainer.global_step, value) for name, value in module.metrics.items()}
        for one in trainer.callbacks:
            if isinstance(one, Monitor):
                measured |= {name: (one.measured_at, value) for name, value in one.newest.items()}
        for name in self.rules:
            step, value = measured.get(name, (0, None))
            if value is not None:
                yield name, step, float(value)

    def _tell(self, trainer: L.Trainer, agreeing: Mapping[str, int]) -> None:
        for callback in trainer.callbacks:
            if isinstance(callback, EventLog):
                callback.write(trainer, "grokking_signals", step=trainer.global_step, changed=dict(agreeing))
        if trainer.is_global_zero:
            said = ", ".join(f"{name} at update {step:,}" for name, step in sorted(agreeing.items(), key=_second))
            tqdm.write(f"grokking: {len(agreeing)} of {len(self.rules)} signals together: {said}")

    def state_dict(self) -> dict[str, Any]:
        """The windows of each, and what has changed."""
        rules = {name: rule.state_dict() for name, rule in self.rules.items()}
        return {"rules": rules, "changed": self.changed, "together": self.together, "taken": self._taken}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there, with the signals that were watched before as well."""
        for name, state in state_dict["rules"].items():
            if name in self.rules:
                self.rules[name].load_state_dict(state)
        kept = {*self.rules}
        self.changed = {name: step for name, step in state_dict["changed"].items() if name in kept}
        self._taken = {name: step for name, step in state_dict["taken"].items() if name in kept}
        self.together = state_dict["together"]


def _of(module: TrainingModule) -> dict[str, str]:
    """The headline, and the accuracy of each task."""
    known = {*module.monitored_names()}
    chosen = [one for one in module.declared if one.name.endswith("/accuracy") and one.better and one.name in known]
    return {one.name: MODES[one.better] for one in dict.fromkeys([module.headline, *chosen])}


def _second(pair: tuple[str, int]) -> int:
    return pair[1]
