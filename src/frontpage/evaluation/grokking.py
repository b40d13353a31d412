"""GrokkingRule: whether a run generalises all of a sudden, long after it knew its training set; in plain numbers."""

from typing import Any

from frontpage.evaluation.transitions import IDLE, Rule, TransitionWatch

UNKNOWN = float("nan")


class GrokkingRule:
    """Takes a run's validations and says which are a sudden lasting change after a plateau (see Rule for the keys).

    With `memorized_loss` the training loss must have been below that where the recent window begins, with
    `memorized_gap` the validation loss above it by that; a change before then is none.
    """

    def __init__(
        self,
        patience: int = 1000,
        window: int = 500,
        threshold: float = 0.10,
        plateau_tol: float = 0.02,
        z_min: float = 3.0,
        confirm: int = 1000,
        min_points: int = 3,
        *,
        higher: bool = False,
        memorized_loss: float | None = None,
        memorized_gap: float | None = None,
    ) -> None:
        self.watch = TransitionWatch(Rule(patience, window, threshold, plateau_tol, z_min, confirm, min_points, higher))
        self.memorized_loss, self.memorized_gap = memorized_loss, memorized_gap
        self._before: list[tuple[int, float, float]] = []  # (update, training loss, gap) of earlier validations

    def observe(
        self, step: int, value: float, train_loss: float | None = None, val_loss: float | None = None
    ) -> str | None:
        """Take the validation at update `step` in: `candidate`, `confirmed`, `rejected`, or None where nothing happens.

        `val_loss` is for a `value` that is no loss, such as an accuracy. Without `train_loss` nothing counts as known
        by heart.
        """
        trained = UNKNOWN if train_loss is None else train_loss
        self._before.append((step, trained, (value if val_loss is None else val_loss) - trained))
        verdict = self.watch.update(step, value, ready=self._memorized(step))
        return None if verdict == IDLE else verdict

    def _memorized(self, step: int) -> bool:
        """Whether the training set was known, and the validation set was not, where the recent window begins."""
        begins = [one for one in self._before if one[0] <= step - self.watch.rule.window]
        self._before = [*begins[-1:], *(one for one in self._before if one[0] > step - self.watch.rule.window)]
        if self.memorized_loss is None and self.memorized_gap is None:
            return True
        if not begins:
            return False
        _, trained, gap = begins[-1]
        low = self.memorized_loss is None or trained < self.memorized_loss
        return low and (self.memorized_gap is None or gap > self.memorized_gap)

    def state_dict(self) -> dict[str, Any]:
        """The windows, the candidate, and what was known by heart."""
        return {"watch": self.watch.state_dict(), "before": [list(one) for one in self._before]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.watch.load_state_dict(state["watch"])
        self._before = [(int(step), *values) for step, *values in state["before"]]
