"""What a checkpoint must hold, part by part, compared with what the run that continues it has built.

A state that loads is not yet one that fits: an optimizer's numbers of another shape crash its kernel, weights of
another type are rounded in silence, a missing counter starts at nothing. So shapes, types and keys are compared first.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from frontpage.data.run_data import RunData
from frontpage.recipe.optimizer_memory import of_stand_ins
from frontpage.recipe.parameter_groups import optimizer_of
from frontpage.recipe.training_module import TrainingModule
from frontpage.runs.checked_file import OWN
from frontpage.runs.checkpoint import SET_LATE, Checkpoint, not_finite
from frontpage.runs.run import Run
from frontpage.runs.stored_config import stored_config
from frontpage.runs.structure import kind_of, unlike, unlike_numbers

ALWAYS = {"RunClock", "RecordRun"}  # the callbacks that no run is without


def check_structure(trainer: L.Trainer, data: RunData, model: TrainingModule, checkpoint: Checkpoint) -> None:
    """Raise a UserError that names the part of a checkpoint which is not as this run's would be.

    The file has been found readable, of the same weights, optimizer and schedule; see `check_continues`.
    """
    content, record = checkpoint.content, checkpoint.run.record or {}
    had = _callbacks_of(checkpoint.run) | ALWAYS if checkpoint.whole else set()
    found = [
        *_weights(content, {str(trainer.precision), str(record.get("precision"))}),
        *_optimizer(content, model),
        *_schedule(content, model),
        *_position(content, trainer, data),
        *_callbacks(content, trainer, had),
        *_newest(content, own=checkpoint.whole),
        *_precision(content, trainer, model),
    ]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise checkpoint.mistake(f"cannot be continued: {found[0]}{more}")


def _weights(content: dict[str, Any], precisions: set[str]) -> Iterator[str]:
    """Weights have the type in which this run trains, or the run that wrote them did."""
    allowed = {_dtype(precision) for precision in precisions}
    names = [name for name in ("state_dict", "current_model_state") if name in content]
    for part in names:
        if part != "state_dict":
            yield from unlike(content[part], content["state_dict"], part)
        for name, weight in content[part].items():
            if isinstance(weight, Tensor) and weight.is_floating_point() and weight.dtype not in allowed:
                # What Lightning leaves alone in half precision (see Rotary) is float32 there.
                if weight.dtype != torch.float32:
                    said = " or ".join(sorted(str(dtype).removeprefix("torch.") for dtype in allowed if dtype))
                    yield f"{part}.{name} is {kind_of(weight)}, not of {said}"
        yield from not_finite(content[part], part)


def _dtype(precision: str) -> torch.dtype | None:
    """The type of the weights under one of Lightning's precisions."""
    true = {"bf16-true": torch.bfloat16, "16-true": torch.float16, "64-true": torch.float64, "None": None}
    return true.get(precision, torch.float32)


def _optimizer(content: dict[str, Any], model: TrainingModule) -> Iterator[str]:
    """Every weight that is trained has the optimizer's numbers about it; one that is in turns may not have been yet."""
    saved, in_turns = content["optimizer_states"][0], {id(weight) for weight in model.trained_in_turns()}
    built = optimizer_of(model.net, model.make_optimizer).param_groups
    weights = (weight for group in built for weight in group["params"])
    idle = {index for index, weight in enumerate(weights) if id(weight) in in_turns}
    expected = optimizer_state(model, content.get("current_model_state") or content["state_dict"])
    groups = [{**group, "params": list(group["params"])} for group in expected["param_groups"]]
    for index, (one, group) in enumerate(zip(saved["param_groups"], groups, strict=True)):
        names = one.keys() & group.keys()
        known = ({name: one[name] for name in names}, {name: group[name] for name in names})
        yield from unlike(*known, f"optimizer_states.0.param_groups.{index}")
        if list(one["params"]) != group["params"]:
            yield f"optimizer_states.0.param_groups.{index}.params numbers other weights"
    if content["global_step"] == 0:
        return
    due = {index: state for index, state in expected["state"].items() if index in saved["state"] or index not in idle}
    yield from unlike(saved["state"], due, "optimizer_states.0.state")
    yield from not_finite(saved["state"], "optimizer_states.0.state")


def optimizer_state(model: TrainingModule, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `state_dict` that the optimizer of `model` has after its first update, its tensors right in size and type.

    `weights` tell the types. One weight of each size is updated, in place of all of that size; one that is not
    trained has no state.
    """
    optimizer = optimizer_of(model.net, model.make_optimizer)
    names = {id(weight): f"net.{name}" for name, weight in model.net.named_parameters()}
    groups, like = [], []
    for group in optimizer.param_groups:
        stand_ins: dict[tuple, nn.Parameter] = {}
        for weight in group["params"]:
            dtype = weights[names[id(weight)]].dtype
            key = (weight.shape, dtype, weight.requires_grad)
            if key not in stand_ins:
                stand_ins[key] = nn.Parameter(torch.zeros(weight.shape, dtype=dtype))
                stand_ins[key].grad = torch.zeros_like(stand_ins[key]) if weight.requires_grad else None
            like.append(stand_ins[key])
        groups.append(
            {**{k: group[k] for k in ("name", "weight_decay") if k in group}, "params": [*stand_ins.values()]}
        )
    small = of_stand_ins(model.make_optimizer(groups))
    small.step()
    kept = small.state_dict()["state"]
    place = {id(weight): index for index, weight in enumerate(w for group in groups for w in group["params"])}
    state = {index: dict(kept[place[id(weight)]]) for index, weight in enumerate(like) if kept.get(place[id(weight)])}
    later = [{key: value for key, value in group.items() if key in SET_LATE} for group in small.param_groups]
    groups = [late | group for late, group in zip(later, optimizer.state_dict()["param_groups"], strict=True)]
    return {"state": state, "param_groups": groups}


def _schedule(content: dict[str, Any], model: TrainingModule) -> Iterator[str]:
    saved, step = content["lr_schedulers"][0], content["global_step"]
    schedule = model.make_scheduler(optimizer_of(model.net, model.make_optimizer), total_steps=10**9)
    yield from unlike(saved, schedule.state_dict(), "lr_schedulers.0")
    if saved.get("last_epoch") != step:
        yield f"lr_schedulers.0 stands at update {saved.get('last_epoch')}, the checkpoint at {step}"


def _position(content: dict[str, Any], trainer: L.Trainer, data: RunData) -> Iterator[str]:
    """The loops and the loader agree on where in the data the run stands."""
    saved, expected = content["loops"], trainer._checkpoint_connector._get_loops_state_dict()
    loader = data.loader_of(trainer)
    expected["fit_loop"]["state_dict"] = {"combined_loader": [loader.state_dict()]}
    problems = [*unlike(saved, expected, "loops"), *_negative(saved, "loops")]
    yield from problems
    if problems:
        return
    fit, step = saved["fit_loop"], content["global_step"]
    done = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"]
    if done != step:
        yield f"loops stand at update {done}, the checkpoint at {step}"
    place, batches = fit["state_dict"]["combined_loader"][0], fit["epoch_loop.batch_progress"]["total"]["completed"]
    if loader.run_sizes.batches(place["epoch"]) + place["batches_done"] != batches:
        stands = f"batch {place['batches_done']} of epoch {place['epoch']}"
        yield f"loops count {batches} batches, {loader.batches} in the first epoch, their loader stands at {stands}"


def _negative(node: Any, where: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _negative(value, f"{where}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _negative(value, f"{where}.{index}")
    elif type(node) is int and node < 0:
        yield f"{where} is {node}"


def _callbacks(content: dict[str, Any], trainer: L.Trainer, had: set[str]) -> Iterator[str]:
    """Callbacks that the run had are there, and each state is of the form that its callback writes."""
    for callback in trainer.callbacks:
        own, key = callback.state_dict(), callback.state_key
        if not own:
            continue
        name, where = type(callback).__name__, f"callbacks.{key}"
        if key not in content["callbacks"]:
            old = any(str(one).startswith(f"{name}{{") for one in content["callbacks"])
            if name in had and not old:
                yield f"callbacks lacks {name}"
        elif hasattr(callback, "unlike_state"):
            yield from callback.unlike_state(content["callbacks"][key], where)
        else:
            yield from unlike(content["callbacks"][key], own, where)


def _callbacks_of(run: Run) -> set[str]:
    """The class names of the callbacks in a run's config; none where that cannot be read."""
    try:
        nodes = OmegaConf.to_container(stored_config(run), resolve=False)["callbacks"]
        return {node["_target_"].rpartition(".")[2] for node in nodes.values() if node}
    except Exception:  # every kind of broken file: the settings are compared elsewhere, and that is said there
        return set()


def _newest(content: dict[str, Any], own: bool) -> Iterator[str]:
    """What is reported where nothing is left to train; a file from elsewhere may lack it."""
    newest = content.get(OWN)
    if newest is None and not own:
        return
    if not isinstance(newest, Mapping):
        yield f"{OWN} is {kind_of(newest)}, not a dictionary"
        return
    yield from (f"{OWN} lacks {name}" for name in ("metrics", "loss", "grad_norm") if name not in newest)
    for name in ("loss", "grad_norm"):
        value = newest.get(name)
        if value is not None and not (isinstance(value, Tensor) and value.ndim == 0):
            yield f"{OWN}.{name} is {kind_of(value)}, not one number"
    yield from unlike_numbers(newest.get("metrics", {}), f"{OWN}.metrics")


def _precision(content: dict[str, Any], trainer: L.Trainer, model: TrainingModule) -> Iterator[str]:
    """The scale of the loss, where a precision has one, and what a mode keeps of the weights."""
    if model.precision_mode is not None:
        kept = model.precision_mode.saved(model.net, _dtype(str(trainer.precision)))
        yield from (fault for name, part in kept.items() for fault in unlike(content.get(name), part, name))
    plugin = trainer.precision_plugin
    own, key = plugin.state_dict(), type(plugin).__qualname__
    if own and key in content:
        yield from unlike(content[key], own, key)
