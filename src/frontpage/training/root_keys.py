"""The keys of a config that stand in no group, and what each may be."""

import typing
from typing import TypedDict

from frontpage.command.limits import Count, Seed, Text


class RootKeys(TypedDict):
    """What configs/train.yaml says of each."""

    name: Text
    seed: Seed
    objective: str | list  # which of them, the module says: training/followed.py
    ckpt_path: Text | None
    init_from: Text | None
    test: bool
    log_interval: Count | None
    val_interval: Count | None
    save_interval: Count | None


ROOT_KEYS = typing.get_type_hints(RootKeys, include_extras=True)
