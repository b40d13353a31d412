"""Limits of a parameter, written into its annotation: `Annotated[int, AtLeast(1)]`.

command/check.py reads them there and refuses a config's value before anything is built; `null` it leaves to the type.
This module imports nothing of ours, so that nets may name their limits too.
"""

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any


class Limit:
    """What a value of the right type must fulfil: `holds` tests it (nan and infinity never do), `words` say it."""

    words: str

    def holds(self, value: Any) -> bool:
        """Whether a value keeps to it."""
        raise NotImplementedError


@dataclass(frozen=True)
class AtLeast(Limit):
    """A number of `least` or more and of `most` or less; `reason` says where `least` comes from."""

    least: float
    most: float | None = None
    reason: str = ""

    @property
    def words(self) -> str:
        reason, most = f" ({self.reason})" * bool(self.reason), "" if self.most is None else f", at most {self.most}"
        return f"at least {self.least}{reason}{most}"

    def holds(self, value: Any) -> bool:
        return self.least <= value < math.inf and (self.most is None or value <= self.most)


@dataclass(frozen=True)
class Between(Limit):
    """A number from `least` to `most`; `ends` as in mathematics: a round bracket for an end that is left out."""

    least: float
    most: float
    ends: str = "[]"

    @property
    def words(self) -> str:
        if self.most == math.inf:
            return f"above {self.least}"
        forms = {"[]": "from {} to {}", "[)": "from {} to below {}", "(]": "above {}, up to {}"}
        return forms.get(self.ends, "between {} and {}, both excluded").format(self.least, self.most)

    def holds(self, value: Any) -> bool:
        inside = self.least < value < self.most
        return inside or (value == self.least and "[" in self.ends) or (value == self.most and "]" in self.ends)


@dataclass(frozen=True)
class Each(Limit):
    """A list whose members all keep to `limit`."""

    limit: Limit

    @property
    def words(self) -> str:
        return f"each {self.limit.words}"

    def holds(self, value: Any) -> bool:
        return all(map(self.limit.holds, value))


class OneOf(Limit):
    """One of some texts; a number is read as it is written, so that 32 is `32`."""

    def __init__(self, *choices: str) -> None:
        self.choices, self.words = choices, f"one of {' '.join(choices)}"

    def __repr__(self) -> str:
        return f"OneOf{self.choices}"

    def holds(self, value: Any) -> bool:
        return str(value) in self.choices


@dataclass(frozen=True)
class Matching(Limit):
    """A text that a regular expression describes from end to end; what is no text may stand beside it."""

    pattern: str
    words: str

    def holds(self, value: Any) -> bool:
        return not isinstance(value, str) or re.fullmatch(self.pattern, value, re.DOTALL) is not None


Count = Annotated[int, AtLeast(1)]
Seed = Annotated[int, Between(0, 2**32 - 1)]
Text = Annotated[str, Matching(".+", "not empty")]
Share = Annotated[float, Between(0, 1)]
ShareBelow1 = Annotated[float, Between(0, 1, "[)")]
Amount = Annotated[float, AtLeast(0)]
Positive = Annotated[float, Between(0, math.inf, "()")]
