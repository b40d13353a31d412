"""Checkpoints on disk: which are readable, which is the newest."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frontpage.errors import bad_value
from frontpage.models.language_module import LanguageModule
from frontpage.notices import notice
from frontpage.optim import optimizer_of

LISTED = 6  # weights named in an error


def load_checkpoint(path: Path, key: str) -> dict[str, Any]:
    """A Lightning checkpoint on the CPU, loaded without running code from it; UserError names `key`."""
    if not path.is_file():
        problem = "a directory; name a checkpoint in it" if path.is_dir() else "no such checkpoint"
        raise bad_value(key, path, problem)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # zip, pickle and end-of-file errors of every kind
        raise bad_value(key, path, f"not a readable checkpoint ({type(error).__name__})") from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise bad_value(key, path, "not a checkpoint of this project (it has no state_dict)")
    return content


def weights_for(module: nn.Module, path: Path, key: str) -> dict[str, Tensor]:
    """The weights of a checkpoint; a UserError lists those that do not fit `module`."""
    weights, own = load_checkpoint(path, key)["state_dict"], module.state_dict()
    wrong = [f"{name} (not in the checkpoint)" for name in own if name not in weights]
    wrong += [f"{name} (only in the checkpoint)" for name in weights if name not in own]
    for name in own:
        if name in weights and own[name].shape != weights[name].shape:
            wrong.append(f"{name} ({_size(weights[name])}, here {_size(own[name])})")
    if wrong:
        listed = ", ".join(wrong[:LISTED]) + (" ..." if len(wrong) > LISTED else "")
        raise bad_value(key, path, f"{len(wrong)} weights do not fit this model, which must be the same: {listed}")
    return weights


def check_resumable(path: Path, key: str) -> None:
    """Raise a UserError unless the file is a readable checkpoint with all that a run continues from."""
    content = load_checkpoint(path, key)
    missing = [name for name in ("optimizer_states", "lr_schedulers", "loops") if not content.get(name)]
    if missing:
        raise bad_value(key, path, f"holds weights only (no {', '.join(missing)}); init_from=... takes the weights")


def check_continues(module: LanguageModule, path: Path) -> None:
    """Raise a UserError unless a run of `module` can go on from the checkpoint: same weights, same optimizer."""
    weights_for(module, path, "ckpt_path")
    saved = load_checkpoint(path, "ckpt_path")["optimizer_states"][0]
    own = optimizer_of(module.net, module.make_optimizer)
    if _kind(saved["param_groups"]) != _kind(own.param_groups):
        problem = f"another optimizer than {type(own).__name__} wrote it; take the same optimizer, or init_from=..."
        raise bad_value("ckpt_path", path, problem)


def newest_intact(directory: Path) -> Path | None:
    """The newest readable checkpoint of a directory; a notice names each newer one that is not readable."""
    for path in sorted(directory.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            load_checkpoint(path, "ckpt_path")
        except Exception as error:
            notice(f"{error}; an older one is tried")
            continue
        return path
    return None


def _kind(groups: Iterable[dict[str, Any]]) -> list[tuple[set[str], int, Any]]:
    """What tells optimizers apart by their groups: settings, weights, and what alone differs between Adam and AdamW."""
    return [
        (group.keys() - {"initial_lr", "name"}, len(group["params"]), group.get("decoupled_weight_decay"))
        for group in groups
    ]


def _size(weight: Tensor) -> str:
    return "x".join(map(str, weight.shape))
