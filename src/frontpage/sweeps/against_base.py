"""AgainstBase: a variant is pruned where it is much worse than the base was at the same update of the same seed."""

import math
from collections.abc import Mapping

import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from frontpage.command.check import check_value
from frontpage.command.limits import Amount, Share, Text
from frontpage.sweeps.space import VARIANT


class AgainstBase(optuna.pruners.BasePruner):
    """Prunes a trial whose best value so far is worse than the base's by more than `margin`, a share of it.

    A run is judged by its best validation, so that one which gets worse late is not pruned. The base is the complete
    trial of the variant `base` whose other parameters are the same. Before the share `after` of its updates nothing is
    pruned, since what regularises begins slowly. Where the base was not validated at an update, as where a variant has
    other rows an update, it is judged by its last validation before.
    """

    def __init__(self, margin: Amount, after: Share, base: Text) -> None:
        for name, value, kind in (("margin", margin, Amount), ("after", after, Share), ("base", base, Text)):
            check_value(f"hydra.sweeper.pruner.{name}", value, kind)
        self.margin, self.after, self.base = margin, after, base

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial's newest value is too bad."""
        step, others = trial.last_step, {key: value for key, value in trial.params.items() if key != VARIANT}
        if step is None or trial.params.get(VARIANT, self.base) == self.base:
            return False
        for one in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            known = one.intermediate_values
            if one.params != others | {VARIANT: self.base} or not known or step < self.after * max(known):
                continue
            sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
            mine, its = (_least(values, step, sign) for values in (trial.intermediate_values, known))
            return mine - its > self.margin * abs(its)
        return False


def _least(values: Mapping[int, float], step: int, sign: float) -> float:
    """Of `sign` times the values up to an update, those that are no numbers left out; NaN where none is left."""
    return min((sign * value for at, value in values.items() if at <= step and not math.isnan(value)), default=math.nan)
