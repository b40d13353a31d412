"""The packages of the extra `quantised`: imported without a word on stderr, or refused with how to get them."""

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from frontpage.command.errors import UserError
from frontpage.command.extras import installing

# What each says of kernels that it cannot use here and of PyTorch's own changes, at its import.
TALKATIVE = ("torchao", "torch.utils._pytree", "bitsandbytes", "bitsandbytes.backends.cpu.ops")
ADVICE = f"install it with {installing('quantised')}"


def package(name: str, mode: str) -> ModuleType:
    """The module `name`, imported for `precision=mode`; UserError without it."""
    try:
        with quiet():
            return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"precision={mode}: needs the extra quantised ({error});\n{ADVICE}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Let no logger of these packages say less than an error."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
