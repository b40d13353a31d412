"""AgainstBase: a variant is pruned where it is much worse than the base was at the same update of the same seed."""

import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from frontpage.command.check import check_value
from frontpage.command.limits import Amount, Share, Text
from frontpage.sweeps.space import VARIANT


class AgainstBase(optuna.pruners.BasePruner):
    """Prunes a trial whose value is worse than the base's by more than `margin`, a share of it.

    The base is the complete trial of the variant `base` whose other parameters are the same. Before the share `after`
    of its updates nothing is pruned, since what regularises begins slowly; nor where it has no value at an update.
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
            if one.params != others | {VARIANT: self.base} or step not in known or step < self.after * max(known):
                continue
            worse = trial.intermediate_values[step] - known[step]
            if study.direction == StudyDirection.MAXIMIZE:
                worse = -worse
            return worse > self.margin * abs(known[step])
        return False
