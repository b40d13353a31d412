"""Which device a run computes on."""

import os
from typing import Any

import lightning as L
import torch

from frontpage.command.errors import BadValue
from frontpage.command.limits import Limit


class DeviceCount(Limit):
    """At least one, where devices are counted rather than named."""

    words = "at least 1, or auto"

    def holds(self, value: Any) -> bool:
        """Whether there is a device to compute on."""
        return not isinstance(value, int) or value >= 1


def find_accelerator(asked: str, key: str = "trainer.accelerator") -> str:
    """The accelerator in Lightning's words; `auto` is resolved and said, a missing device is refused, naming `key`."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    wanted = {"gpu": ("cuda", "mps")}.get(asked, (asked,))
    found = [name for name in wanted if there.get(name)]
    if not found:
        names = " ".join(name for name, present in there.items() if present)
        raise BadValue(key, asked, f"this machine has: auto {names}")
    return found[0]


def check_devices(devices: int | str | list[int], accelerator: str) -> None:
    """Raise a UserError for more devices than this machine has: GPUs, or on a CPU processes, one a core at most."""
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(accelerator, os.cpu_count() or 1)
    if accelerator == "cpu" and not (str(devices).isdigit() or devices == "auto"):
        raise BadValue("trainer.devices", devices, "a number of processes, or auto: on a CPU there is nothing to name")
    asked = int(devices) if str(devices).isdigit() else len(devices) if isinstance(devices, list) else 1
    allowed = f"this machine has {there} {'cores' if accelerator == 'cpu' else 'GPUs'}; at most so many processes"
    if asked > there:
        raise BadValue("trainer.devices", devices, allowed)


def device_name(trainer: L.Trainer) -> str:
    """The device that a trainer uses, for people: `cuda (NVIDIA H200)`, `cpu (2 threads)`."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type
