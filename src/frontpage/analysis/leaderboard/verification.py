"""A record's runs, trained again: whether what comes of them is what the record says, within its error.

The rule: the loss of the new run and the loss that is kept are compared title by title. The reference is the kept run
of the same seed, or for a seed that the record has not, the mean of its runs. Two things make honest repetitions
differ: which weights a seed gives, or another machine's rounding, and which titles the models happen to like. So the
error is sqrt(e^2 + s^2 (1 + 1/n)), with e the standard error of the paired difference over titles, and s the standard
deviation of the loss over the n seeds that the reference is of (over all seeds of the record; 0 where it has one). A
record holds where the difference is at most twice that, or a millionth of the loss, the precision of fp32.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from frontpage.analysis.leaderboard.records import Record
from frontpage.analysis.leaderboard.scores import KeptScores
from frontpage.command.errors import BadValue

ERRORS = 2.0
ROUNDING = 1e-6


@dataclass(frozen=True)
class Verdict:
    """A loss that was measured again, beside the one that is kept."""

    value: float
    kept: float
    difference: float
    error: float  # of the difference
    of: str  # what it was compared with

    @property
    def holds(self) -> bool:
        """Whether the record says what is so."""
        return abs(self.difference) <= ERRORS * self.error + ROUNDING * self.kept

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"holds": self.holds, **asdict(self)}

    def __str__(self) -> str:
        """In two lines."""
        verdict = "holds" if self.holds else "does not hold"
        return (
            f"measured {self.value:.6f}, kept {self.kept:.6f} ({self.of}); difference {self.difference:+.6f},"
            f" its error {self.error:.6f}, allowed {ERRORS:g} errors\nthe record {verdict}"
        )


def verdict_on(record: Record, seed: int | None, scores: KeptScores) -> Verdict:
    """What a new run with `seed`, or with None a new ensemble of all seeds, says of the record.

    UserError where it was validated on other titles.
    """
    if scores.titles != record.titles:
        raise BadValue("record", record.name, "the new run was validated on other titles; --titles names their file")
    same = next((run for run in record.runs if run.seed == seed), None)
    if seed is None:
        reference, number, of = record.nll, 1, "the average of its runs"
    elif same is not None:
        reference, number, of = same.scores.nll, 1, f"seed {seed}"
    else:
        reference, number, of = record.nll, len(record.runs), f"the mean of {len(record.runs)} seeds"
    difference, over_titles = scores.less(reference)
    spread = record.spread or 0.0
    error = math.sqrt(over_titles**2 + spread**2 * (1 + 1 / number))
    kept = float(reference.sum() / record.characters.sum())
    return Verdict(scores.value[0], kept, difference, error, of)
