"""Keeps torchmetrics from importing packages for metrics of sound and pictures that no run has.

It imports scipy, matplotlib and transformers wherever they are installed, and Lightning imports it at every start: a
quarter of the processor time that a short run takes, and with transformers more.
"""

import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

LEFT_ALONE = {"PIL", "matplotlib", "scipy", "transformers"}


def leave_them_alone() -> None:
    """From now on, which must be before Lightning is imported; our own imports find everything."""
    sys.meta_path.insert(0, _BeforeTorchmetrics())


class _BeforeTorchmetrics:
    """A finder that finds nothing: when torchmetrics is looked for, the answers it will get are put in order."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """None, so that Python asks the finders after this one."""
        if name == "torchmetrics":
            sys.meta_path.remove(self)
            _deny()


def _deny() -> None:
    """Let what torchmetrics asks for packages, Lightning's own questions, have a no for these."""
    from lightning_utilities.core import imports

    available, met = imports.package_available, imports.RequirementCache.__bool__

    def denied(requirement: str) -> bool:
        return re.split(r"[^\w-]", requirement)[0] in LEFT_ALONE

    def is_met(one: Any) -> bool:
        return not denied(one.requirement or one.module) and met(one)

    imports.package_available = lambda name: not denied(name) and available(name)
    imports.RequirementCache.__bool__ = is_met
