"""Checkpoints on disk: which are readable, which is the newest."""

from pathlib import Path
from typing import Any

import torch

from frontpage.errors import bad_value
from frontpage.notices import notice


def load_checkpoint(path: Path, key: str) -> dict[str, Any]:
    """A Lightning checkpoint on the CPU, loaded without running code from it; UserError names `key`."""
    if not path.is_file():
        raise bad_value(key, path, "no such checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # zip, pickle and end-of-file errors of every kind
        raise bad_value(key, path, f"not a readable checkpoint ({type(error).__name__})") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise bad_value(key, path, "not a checkpoint of this project (it has no state_dict)")
    return content


def check_readable(path: Path, key: str) -> None:
    """Raise a UserError unless the file is a readable checkpoint."""
    load_checkpoint(path, key)


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
