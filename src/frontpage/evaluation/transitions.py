"""Whether a curve of validations drops all of a sudden, from a plateau, for good: TransitionWatch, in plain numbers."""

import math
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

MAD_TO_DEVIATION = 1.4826  # of a normal distribution
TINY = 1e-12
IDLE, CANDIDATE, CONFIRMED, REJECTED = "idle", "candidate", "confirmed", "rejected"


@dataclass(frozen=True)
class Rule:
    """When a change counts as a transition; lengths in optimizer updates.

    The recent window are the last `window` updates, the baseline the `patience` updates before it. Its median must be
    better than the baseline's by `threshold`, a share of it, and two deviations of the baseline from its line more, and
    by `z_min` robust deviations of the baseline. The baseline is a plateau where its least-squares slope changes it by
    less than the share `plateau_tol` in `patience` updates; where validations are noisy, a slope within two standard
    errors of none will do, up to half of `threshold`. `confirm` updates later the median of what came since must still
    be better by `threshold`. Each window needs `min_points` validations.
    """

    patience: int = 1000
    window: int = 500
    threshold: float = 0.10
    plateau_tol: float = 0.02
    z_min: float = 3.0
    confirm: int = 1000
    min_points: int = 3
    higher: bool = False  # whether a higher value is the better one


@dataclass(frozen=True)
class Look:
    """What the windows show at an update; None where a window has too few validations."""

    step: int
    baseline: float | None = None
    recent: float | None = None
    drop: float | None = None  # share of the baseline by which the recent median is better
    z: float | None = None  # the same in robust deviations of the baseline
    slope: float | None = None  # change of the baseline in `patience` updates, as a share of its median
    slope_error: float | None = None  # its standard error
    noise: float | None = None  # standard deviation of the baseline around its least-squares line, as a share


class TransitionWatch:
    """Takes one validation after the other; `update` says what becomes of them.

    After a verdict it begins anew with what came after the candidate, so that it sees the next transition, too.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.points: list[tuple[int, float]] = []
        self.since: int | None = None  # the update after which points count; None before the first
        self.candidate: Look | None = None
        self.judged: Look | None = None  # the newest candidate that has had its verdict
        self.look = Look(0)

    def update(self, step: int, value: float, ready: bool = True) -> str:
        """Take one in; `candidate`, `confirmed` or `rejected` where one is found or judged, else `idle`.

        Nothing becomes a candidate unless it is `ready`. A value that is no finite number is passed over.
        """
        if not math.isfinite(value):
            return IDLE
        if self.since is None:
            self.since = step
        self.points.append((step, value))
        self.look = self._look(step)
        if self.candidate is not None:
            return self._judge(step)
        if ready and self._found(step):
            self.candidate = self.look
            return CANDIDATE
        self._forget(step)
        return IDLE

    def _look(self, step: int) -> Look:
        rule = self.rule
        recent = [value for at, value in self.points if at > step - rule.window]
        first = step - rule.window - rule.patience
        before = [(at, value) for at, value in self.points if first < at <= step - rule.window]
        if len(recent) < rule.min_points or len(before) < rule.min_points:
            return Look(step, recent=median(recent) if len(recent) >= rule.min_points else None)
        baseline, now = median(value for _, value in before), median(recent)
        spread = MAD_TO_DEVIATION * median(abs(value - baseline) for _, value in before)
        gain, size = now - baseline if rule.higher else baseline - now, max(abs(baseline), TINY)
        slope, error, noise = _line(before)
        slope, error = slope * rule.patience / size, error * rule.patience / size
        return Look(step, baseline, now, gain / size, gain / (spread + TINY), slope, error, noise / size)

    def _found(self, step: int) -> bool:
        look, rule = self.look, self.rule
        whole = step - self.since >= rule.window + rule.patience
        if not whole or look.drop is None:
            return False
        flat = abs(look.slope) < max(rule.plateau_tol, min(2 * look.slope_error, rule.threshold / 2))
        return flat and look.drop >= rule.threshold + 2 * look.noise and look.z >= rule.z_min

    def _judge(self, step: int) -> str:
        began = self.candidate
        since = [value for at, value in self.points if at > max(began.step, step - self.rule.window)]
        if step < began.step + self.rule.confirm or len(since) < self.rule.min_points:
            return IDLE
        recent = median(since)
        gain = recent - began.baseline if self.rule.higher else began.baseline - recent
        self.candidate, self.judged, self.since = None, began, began.step
        self.points = [(at, value) for at, value in self.points if at > began.step]
        return CONFIRMED if gain / max(abs(began.baseline), TINY) >= self.rule.threshold else REJECTED

    def _forget(self, step: int) -> None:
        oldest = step - self.rule.window - self.rule.patience
        self.points = [(at, value) for at, value in self.points if at > oldest]

    def state_dict(self) -> dict[str, Any]:
        """The points of the windows, and the candidate."""
        return {
            "points": [list(point) for point in self.points],
            "since": self.since,
            "candidate": None if self.candidate is None else asdict(self.candidate),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.points = [(int(step), float(value)) for step, value in state["points"]]
        self.since = state["since"]
        self.candidate = None if state["candidate"] is None else Look(**state["candidate"])


def _line(points: list[tuple[int, float]]) -> tuple[float, float, float]:
    """The least-squares slope, its standard error (both in the value's unit an update), and the deviation around it.

    Two points have neither error nor deviation.
    """
    count = len(points)
    middle, mean = sum(step for step, _ in points) / count, sum(value for _, value in points) / count
    spread = sum((step - middle) ** 2 for step, _ in points)
    slope = sum((step - middle) * value for step, value in points) / spread if spread else 0.0
    rest = sum((value - mean - slope * (step - middle)) ** 2 for step, value in points)
    noise = (rest / (count - 2)) ** 0.5 if count > 2 else 0.0
    return slope, noise / spread**0.5 if spread else 0.0, noise
