"""Checkpoint: one that was opened; which of a folder is the newest, and what a run can go on from."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frontpage.command.errors import NO_URL, BadValue
from frontpage.command.notices import notice
from frontpage.recipe.parameter_groups import optimizer_of
from frontpage.recipe.training_module import TrainingModule
from frontpage.runs.checked_file import digest_of, has_checksum
from frontpage.runs.checkpoint_file import named_update, read, read_light
from frontpage.runs.checkpoint_parts import is_index
from frontpage.runs.run import Run, run_around

LISTED = 6  # weights named in an error
RESUMABLE = ("optimizer_states", "lr_schedulers", "loops", "callbacks")
# Of a parameter group: set by the first schedule, by decay_groups and by Muon's first step.
SET_LATE = {"initial_lr", "name", "iteration"}


@dataclass(frozen=True, eq=False, repr=False)
class Checkpoint:
    """A checkpoint that was read and checked once: whoever needs something of it is given this."""

    path: Path
    key: str  # of the config, or the option, that named it: with it a mistake is told
    content: dict[str, Any]  # on the CPU, mapped from the file
    whole: bool  # it carries its checksum; one without is from elsewhere

    @property
    def update(self) -> int:
        """The optimizer update that it is of."""
        return self.content["global_step"]

    @property
    def run(self) -> Run:
        """The run in whose folder it lies."""
        return run_around(self.path)

    def mistake(self, what: str) -> BadValue:
        """A UserError about it."""
        return BadValue(self.key, self.path, what)


def open_checkpoint(place: Path | str, key: str) -> Checkpoint:
    """Open a Lightning checkpoint without running code from it; UserError names `key`.

    What is said of a damaged file names the newest intact one beside it, where there is one.
    """
    path = Path(place)
    if not path.is_file():
        problem = "a directory; name a checkpoint in it" if path.is_dir() else "no such checkpoint"
        raise BadValue(key, place, NO_URL if "://" in str(place) else problem)
    try:
        content = read(path)
    except Exception as error:  # zip, pickle and end-of-file errors of every kind
        why = str(error) if type(error) is ValueError else type(error).__name__
        other = next((one for one in _newest_first(path.parent) if one.path != path and _goes_on(one)), None)
        hint = f"; the newest intact one beside it is {other.path}" if other else ""
        raise BadValue(key, path, f"not a readable checkpoint ({why}){hint}") from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise BadValue(key, path, "not a checkpoint of this project (it has no state_dict)")
    if not has_checksum(path):
        notice(f"{path} has no checksum, so it is from elsewhere: whether it is whole cannot be checked")
    return Checkpoint(path, key, content, has_checksum(path))


def weights_place(text: str, key: str) -> Path:
    """The best checkpoint of the run's directory that `text` names, or the file; UserError names `key`."""
    path = Path(text)
    if path.is_dir():
        path = Run(path).best
    if not path.is_file():
        problem = "neither a run's directory with a best checkpoint nor a checkpoint"
        raise BadValue(key, text, NO_URL if "://" in text else problem)
    return path


def weights_for(module: nn.Module, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights of a checkpoint; a UserError lists those that do not fit `module`."""
    weights, own = checkpoint.content["state_dict"], module.state_dict()
    wrong = [f"{name} (not in the checkpoint)" for name in own if name not in weights]
    wrong += [f"{name} (only in the checkpoint)" for name in weights if name not in own]
    for name in own:
        if name in weights and not isinstance(weights[name], Tensor):
            wrong.append(f"{name} (no tensor)")
        elif name in weights and own[name].shape != weights[name].shape:
            wrong.append(f"{name} ({_size(weights[name])}, here {_size(own[name])})")
        elif name in weights and own[name].is_floating_point() != weights[name].is_floating_point():
            kinds = [str(one.dtype).removeprefix("torch.") for one in (weights[name], own[name])]
            wrong.append(f"{name} ({kinds[0]}, here {kinds[1]})")
    if wrong:
        listed = ", ".join(wrong[:LISTED]) + (" ..." if len(wrong) > LISTED else "")
        raise checkpoint.mistake(f"{len(wrong)} weights do not fit this model, which must be the same: {listed}")
    lost = next(not_finite(weights, "state_dict"), None)
    if lost:
        raise checkpoint.mistake(f"{lost}: the run that wrote it had diverged")
    return weights


def not_finite(node: Any, where: str) -> Iterator[str]:
    """The tensors of a nested state that hold NaN or infinity, in words."""
    if isinstance(node, Tensor):
        if node.is_floating_point() and not bool(torch.isfinite(node).all()):
            yield f"{where} holds numbers that are not finite"
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from not_finite(value, f"{where}.{key}")


def check_resumable(checkpoint: Checkpoint) -> None:
    """Raise a UserError unless a checkpoint holds all that a run continues from."""
    missing = [name for name in RESUMABLE if not checkpoint.content.get(name)]
    if missing:
        raise checkpoint.mistake(f"holds weights only (no {', '.join(missing)}); init_from=... takes the weights")
    wrong = next(_misshapen(checkpoint.content), None)
    if wrong:
        raise checkpoint.mistake(f"no checkpoint that a run can continue: {wrong}")


def _misshapen(content: Mapping[str, Any]) -> Iterator[str]:
    """The parts that are not even of the right kind, in words: what else is looked at relies on these."""
    for name in ("global_step", "epoch"):
        if type(content.get(name)) is not int or content[name] < 0:
            yield f"{name} is {content.get(name)!r}, no count"
    for name in ("state_dict", "loops", "callbacks"):
        if not isinstance(content[name], Mapping):
            yield f"{name} is no dictionary"
    for name in ("optimizer_states", "lr_schedulers"):
        one = content[name]
        if not (isinstance(one, list) and len(one) == 1 and isinstance(one[0], Mapping)):
            yield f"{name} is no list of one dictionary"
            return
    groups = content["optimizer_states"][0].get("param_groups")
    if not isinstance(content["optimizer_states"][0].get("state"), Mapping):
        yield "optimizer_states.0 has no state"
    listed = isinstance(groups, list) and all(isinstance(one, Mapping) for one in groups)
    if not listed or not all(isinstance(one.get("params"), list) for one in groups):
        yield "optimizer_states.0 has no param_groups that list their params"


def check_continues(module: TrainingModule, checkpoint: Checkpoint) -> None:
    """Raise a UserError unless a run of `module` can go on from the checkpoint: same weights, same optimizer."""
    weights_for(module, checkpoint)
    content = checkpoint.content
    saved, optimizer = content["optimizer_states"][0]["param_groups"], optimizer_of(module.net, module.make_optimizer)
    if _kind(saved) != _kind(optimizer.param_groups):
        keys = [{key for group in groups for key in group} for groups in (saved, optimizer.param_groups)]
        problem = f"another optimizer than {type(optimizer).__name__} wrote it"
        differing = only_on_one_side(*keys)
        problem += f": {differing}" if differing else ""
        raise checkpoint.mistake(f"{problem}; take the same optimizer, or init_from=...")
    schedule = module.make_scheduler(optimizer, total_steps=10**9).state_dict()
    differing = only_on_one_side(content["lr_schedulers"][0], schedule)
    if differing:
        raise checkpoint.mistake(f"its schedule is of another kind: {differing}; take the same scheduler")


def newest_intact(folder: Path) -> Checkpoint | None:
    """The intact checkpoint of the latest update in a folder, opened; a notice names each that is damaged.

    Of several of one update `last` goes before the others, then the checksum decides: never the time of a file, which
    a copy changes.
    """
    damaged = False
    for one in _newest_first(folder):
        if _goes_on(one):
            if damaged:
                notice(f"the newest checkpoint that is whole is {one.path.name}, of update {one.update}")
            return replace(one, content=read(one.path)) if is_index(one.content) else one
        notice(f"{one.path} is damaged or no checkpoint of a run; it is passed over")
        damaged = True
    return None


def _kind(groups: Iterable[dict[str, Any]]) -> list[tuple[set[str], int, Any]]:
    """What tells optimizers apart by their groups: settings, weights, and what alone differs between Adam and AdamW."""
    return [(group.keys() - SET_LATE, len(group["params"]), group.get("decoupled_weight_decay")) for group in groups]


def rewind(writers: Iterable[object], checkpoint: Checkpoint | None) -> None:
    """Let those that have a `rewind(step)` forget the updates after a checkpoint (None: all); they come again."""
    for writer in writers:
        if hasattr(writer, "rewind"):
            writer.rewind(checkpoint.update if checkpoint else 0)


def _newest_first(folder: Path) -> Iterator[Checkpoint]:
    """The checkpoints of a folder, damaged ones first, with nothing in them: nobody knows of what update they are.

    Rolling checkpoints and milestones can be many and large: one is read when no other is of a later update than its
    name says, and counts as damaged where it is of another.
    """
    paths = [path for path in folder.glob("*.ckpt") if path.is_file()]
    later = sorted((named_update(path), path.name) for path in paths if named_update(path) is not None)
    found = [Checkpoint(path, "ckpt_path", _content_of(path), True) for path in paths if named_update(path) is None]

    def age(one: Checkpoint) -> tuple[float, bool, str, str]:
        update, last = one.content.get("global_step"), one.path.name == "last.ckpt"
        if type(update) is not int or update < 0:
            return math.inf, last, "", one.path.name
        return update, last, digest_of(one.path), one.path.name

    for one in [*sorted(found, key=age, reverse=True), None]:
        while later and (one is None or later[-1][0] > age(one)[0]):
            update, name = later.pop()
            content = _content_of(folder / name)
            yield Checkpoint(folder / name, "ckpt_path", content if content.get("global_step") == update else {}, True)
        if one is not None:
            yield one


def _content_of(path: Path) -> dict[str, Any]:
    """What an intact file of this project holds; nothing for any other."""
    try:
        content = read_light(path) if has_checksum(path) else None
    except Exception:  # zip, pickle and end-of-file errors of every kind
        return {}
    return content if isinstance(content, dict) else {}


def _goes_on(one: Checkpoint) -> bool:
    """Whether a checkpoint holds all that a run continues from."""
    try:
        return all(one.content[name] for name in RESUMABLE) and not [*_misshapen(one.content)]
    except Exception:  # what is missing, and what is no dictionary or list
        return False


def only_on_one_side(saved: Iterable[str], own: Iterable[str]) -> str:
    """The keys of a checkpoint and of this run that the other one lacks, in words; nothing where they agree."""
    saved, own = ({str(key) for key in keys} - SET_LATE for keys in (saved, own))
    sides = (("only in the checkpoint", saved - own), ("not in the checkpoint", own - saved))
    return ", ".join(f"{key} ({where})" for where, keys in sides for key in sorted(keys))


def _size(weight: Tensor) -> str:
    return "x".join(map(str, weight.shape))
