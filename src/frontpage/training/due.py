"""Due: the updates of a run at which something regular happens."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Due:
    """The multiples of each of `periods`, the `single` ones, and update `last`, the run's end."""

    periods: frozenset[int]
    last: int
    single: frozenset[int] = field(default_factory=frozenset)

    def count(self, after: int) -> int:
        """How many come later than update `after`."""
        return self._up_to(self.last) - self._up_to(min(after, self.last))

    def newest(self, many: int) -> list[int]:
        """The latest `many` of them, the newest first."""
        found = {update for period in self.periods for update in range(self.last // period * period, 0, -period)[:many]}
        return sorted(found | self._others(), reverse=True)[:many]

    def _others(self) -> set[int]:
        """Those that are no multiple."""
        named = {one for one in {*self.single, self.last} if 0 < one <= self.last}
        return {one for one in named if all(one % period for period in self.periods)}

    def _up_to(self, update: int) -> int:
        """By inclusion and exclusion over the periods, of which there are few."""
        periods, multiples = sorted(self.periods), 0
        for chosen in range(1, 2 ** len(periods)):
            of = [period for place, period in enumerate(periods) if chosen >> place & 1]
            multiples -= (-1) ** len(of) * (update // math.lcm(*of))
        return multiples + sum(one <= update for one in self._others())
