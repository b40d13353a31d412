"""What several seeds say together: means with their confidence intervals, and differences taken seed by seed."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """A mean over seeds and how far its confidence interval reaches to either side; NaN where there is one seed."""

    mean: float
    reach: float
    seeds: int

    @property
    def is_clear(self) -> bool:
        """Whether zero lies outside the interval."""
        return abs(self.mean) > self.reach


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean of independent values, and Student's interval of it: t sd / sqrt(n), with n - 1 degrees of freedom."""
    from scipy.stats import t

    count = len(values)
    if count < 2:
        return Interval(statistics.fmean(values), math.nan, count)
    reach = t.ppf((1 + level) / 2, count - 1) * statistics.stdev(values) / math.sqrt(count)
    return Interval(statistics.fmean(values), float(reach), count)


def difference(one: Mapping[int, float], other: Mapping[int, float], level: float = 0.95) -> Interval:
    """`one` minus `other`, by seed, over the seeds that both have; each seed gives both the same text in one order."""
    return interval([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())], level)
