"""WeightDecay: how strongly the groups of weights decay, update by update."""

from collections.abc import Callable
from dataclasses import dataclass

from torch.optim import Optimizer

from frontpage.command.points import Course, Points
from frontpage.recipe.parameter_groups import OTHERS, weight_decay_of


@dataclass(frozen=True)
class WeightDecay:
    """Courses of the decay: of matrices and heads, what the optimizer is configured with, and of the other weights.

    What it is at an update depends on nothing but the update, so a run that is continued has the same. Whether it is
    part of the gradient or apart from it (decoupled, times the rate), the optimizer decides.
    """

    matrices: Points
    others: Points

    @classmethod
    def of(cls, make_optimizer: Callable[..., Optimizer], others: Course = 0.0) -> "WeightDecay":
        """Of an optimizer's factory; ValueError for what is no course."""
        return cls(
            Points.of(weight_decay_of(make_optimizer), "weight_decay"), Points.of(others, "weight_decay_of_others")
        )

    @property
    def scheduled(self) -> bool:
        """Whether that of the matrices changes over a run."""
        return len(self.matrices.values) > 1

    @property
    def as_built(self) -> bool:
        """Whether an optimizer has it from its constructor, so that nothing is to be set."""
        return not self.scheduled and self.others.values == (0.0,)

    def at_first(self, make_optimizer: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
        """The factory, with a number where the config has a course."""
        if self.as_built or "weight_decay" not in getattr(make_optimizer, "keywords", {}):
            return make_optimizer
        settings = make_optimizer.keywords | {"weight_decay": self.matrices.values[0]}
        factory = type(make_optimizer)(make_optimizer.func, *make_optimizer.args, **settings)
        factory.__dict__.update(make_optimizer.__dict__)  # what Hydra checks a call by
        return factory

    def set(self, optimizer: Optimizer, update: int, total: int) -> None:
        """Give every group of an optimizer its decay at an update, counted from 0, of a run of `total`."""
        for group in optimizer.param_groups:
            course = self.others if group["name"] == OTHERS else self.matrices
            group["weight_decay"] = course.at(update, total)
