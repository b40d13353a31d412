"""ResumeReport: what a resumed run starts from, compared with its checkpoint before the first update."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from frontpage.command.notices import notice
from frontpage.recipe.sharded_tensors import collected
from frontpage.runs.checked_file import digest_of, has_checksum
from frontpage.runs.checkpoint_file import read
from frontpage.training.callbacks.event_log import EventLog
from frontpage.training.callbacks.random_state import RandomState, generators


class ResumeReport(L.Callback):
    """Writes one event `resumed`: of each part the digest in the checkpoint and in the run, and whether they agree.

    The parts: weights, optimizer, schedule, generators, position (in the data), and each callback. What was changed on
    purpose (another schedule, more processes) differs, and a notice names it. It stands behind the callbacks that
    restore something when training starts.
    """

    def __init__(self) -> None:
        self._callbacks: dict[str, Any] = {}  # their states, before the clocks among them run

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep what the callbacks have loaded."""
        if trainer.ckpt_path is not None:
            others = (one for one in trainer.callbacks if not isinstance(one, RandomState))
            states = {type(one).__name__: one.state_dict() for one in others}
            self._callbacks = {f"callback {name}": state for name, state in states.items() if state}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare and tell; every process looks at its own generators."""
        if trainer.ckpt_path is None:
            return
        path = Path(trainer.ckpt_path)
        content = read(path)
        parts = parts_of(content, trainer.global_rank)
        saved, found = {name: digest(part) for name, part in parts.items()}, {}
        callbacks = {name: digest(_known(state, parts.get(name))) for name, state in self._callbacks.items()}
        for name, now in (_digests(trainer) | callbacks).items():
            before = saved.get(name)
            agree = trainer.strategy.reduce_boolean_decision(now in (None, before), all=True)
            found[name] = {"checkpoint": before, "run": now, "equal": agree}
        events = next((one for one in trainer.callbacks if isinstance(one, EventLog)), None)
        if events is not None:
            whole = digest_of(path) if has_checksum(path) else None
            about = {"checkpoint": str(path), "digest": whole, "update": content["global_step"]}
            events.write(trainer, "resumed", **about, parts=found)
        differing = [name for name, part in found.items() if not part["equal"]]
        if _writers(content) != trainer.world_size:  # RandomState has said so
            differing = [name for name in differing if name != "generators"]
        if differing:
            notice(f"the run goes on with other numbers than {path} holds: {', '.join(differing)}")


def _digests(trainer: L.Trainer) -> dict[str, str | None]:
    """The digest of each part as the run has it now; None for what a strategy gathers in the first process alone."""
    strategy, first = trainer.strategy, trainer.is_global_zero
    parts = {
        "weights": collected(strategy.lightning_module_state_dict(), first),
        "optimizer": collected(strategy.optimizer_state(trainer.optimizers[0]), first),
        "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
        "generators": generators(),
        "position": trainer.train_dataloader.state_dict(),
    }
    return {name: digest(part) if part else None for name, part in parts.items()}


def parts_of(content: Mapping[str, Any], rank: int = 0) -> dict[str, Any]:
    """The parts of a checkpoint, for the process `rank`."""
    parts = {
        "weights": content.get("current_model_state", content["state_dict"]),
        "optimizer": content["optimizer_states"][0],
        "schedule": content["lr_schedulers"][0],
        "position": content["loops"]["fit_loop"]["state_dict"]["combined_loader"][0],
    }
    for key, state in content["callbacks"].items():
        name = str(key).partition("{")[0]
        if name == RandomState.__name__:
            processes = state.get("processes", [state])
            parts["generators"] = processes[rank] if rank < len(processes) else None
        else:
            parts[f"callback {name}"] = state
    return parts


def _writers(content: Mapping[str, Any]) -> int:
    """How many processes have written a checkpoint."""
    states = [state for key, state in content["callbacks"].items() if key.startswith(RandomState.__name__)]
    return len(states[0].get("processes", states)) if states else 1


def digest(part: Any) -> str:
    """A digest of a nested state: its keys in order, its numbers to the bit, the types of its tensors."""
    whole = hashlib.blake2b(digest_size=16)
    _feed(whole, part)
    return whole.hexdigest()


def _feed(whole: Any, node: Any) -> None:
    if isinstance(node, Tensor):
        plain = node.detach().cpu().contiguous()
        whole.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        whole.update(plain.reshape(-1).view(torch.uint8).numpy())
    elif isinstance(node, Mapping):
        for key in sorted(node, key=str):
            whole.update(f"[{key}]".encode())
            _feed(whole, node[key])
    elif isinstance(node, list | tuple):
        whole.update(f"({len(node)})".encode())
        for one in node:
            _feed(whole, one)
    else:
        whole.update(repr(node).encode())


def _known(state: dict[str, Any], saved: Any) -> dict[str, Any]:
    """A callback's state without what a checkpoint of an older version does not have of it."""
    return {name: value for name, value in state.items() if name in saved} if isinstance(saved, dict) else state
