"""What a run or a search follows - objectives, monitors of callbacks - compared with what its module declares."""

from collections.abc import Sequence

from hydra.utils import get_object
from omegaconf import DictConfig

from frontpage.command.allowed_targets import check_target
from frontpage.command.errors import BadValue, nearest
from frontpage.command.objective import COSTS, objectives
from frontpage.evaluation.declared import DIRECTIONS, HIGHER, MODES, Metric, aims
from frontpage.recipe.training_module import TrainingModule


def metrics_of(model: DictConfig) -> list[Metric]:
    """What the module of `config.model` declares, asked of its class; UserError for a class that declares nothing."""
    check_target(model._target_, "model")
    module = get_object(model._target_)
    known = isinstance(module, type) and issubclass(module, TrainingModule)
    if not known:
        raise BadValue("model._target_", model._target_, "a class derived from TrainingModule")
    return module.declared_metrics(model)


def check_objective(config: DictConfig) -> None:
    """Raise a UserError for an objective that no run of the config would have."""
    asked, metrics = config.objective, metrics_of(config.model)
    declared = aims(metrics)
    several = not isinstance(asked, str)
    names = [*declared, *(COSTS if several else ())]
    if (several and not isinstance(asked, Sequence)) or not asked or any(one not in names for one in objectives(asked)):
        shown = list(asked) if several and isinstance(asked, Sequence) else asked
        allowed = f"must be one of {' '.join(declared)}, or a list of them and of {' '.join(COSTS)}"
        raise BadValue("objective", shown, allowed)
    for name in objectives(asked):
        needed = declared[name].needs if name in declared else None
        if needed:
            key, _, value = needed.partition("=")
            now = f", not {config.model.get(key.removeprefix('model.'))}" if value else _instead(metrics)
            raise BadValue("objective", name, f"needs {needed}{now}")


def _instead(metrics: Sequence[Metric]) -> str:
    """The overrides that follow a run's headline."""
    headline = metrics[0]
    mode = f" callbacks.best_checkpoint.mode={MODES[HIGHER]}" if headline.better == HIGHER else ""
    return f"; objective={headline.name}{mode} follows what is trained"


def check_monitors(config: DictConfig, model: TrainingModule) -> None:
    """Raise a UserError for a callback that follows what not every validation has, or the wrong way."""
    names, needs = model.monitored_names(), {one.name: one.needs for one in model.declared}
    better = {one.name: one.better for one in model.declared}
    for name, callback in (config.callbacks or {}).items():
        monitor = callback.get("monitor") if isinstance(callback, DictConfig) else None
        if monitor is None:
            continue
        if monitor not in names:
            allowed = f"needs {needs[monitor]}" if needs.get(monitor) else f"one of {' '.join(names)}"
            raise BadValue(f"callbacks.{name}.monitor", monitor, allowed + nearest(monitor, names))
        mode, right = callback.get("mode"), MODES.get(better[monitor])
        wrong = mode in MODES.values() and right is not None and mode != right
        if wrong:
            raise BadValue(f"callbacks.{name}.mode", mode, f"{right}, since {monitor} is better the {better[monitor]}")


def check_directions(config: DictConfig, names: Sequence[str], directions: Sequence[str]) -> None:
    """Raise a UserError for a search that looks for the worst value of a metric which its module declares."""
    if "_target_" not in (config.get("model") or {}):  # a search over something else than runs
        return
    declared = aims(metrics_of(config.model))
    for name, direction in zip(names, directions, strict=True):
        metric = declared.get(name)
        right = DIRECTIONS[metric.better] if metric else direction
        allowed = f"{right} for {name}, which is better the {metric.better}" if metric else ""
        if direction != right:
            raise BadValue("hydra.sweeper.direction", direction, allowed)
