"""Checkpoints that every process of a run writes its rows of (`trainer.sharded_checkpoints=true`)."""

import uuid
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor

from frontpage.command.disk_full import is_full
from frontpage.recipe.sharded_tensors import is_sharded, own_part
from frontpage.runs.checkpoint_file import CheckpointFile
from frontpage.runs.checkpoint_parts import PARTS, part_file, split, write_part


def write_parts(checkpoint: dict[str, Any], path: Path, file: CheckpointFile) -> dict[str, Any] | None:
    """Write this process's rows beside `path`; what the checkpoint's own file is to hold. A collective.

    None where the disk of a process has no room, which the first one says; OSError where one cannot write.
    """
    process, processes = dist.get_rank(), dist.get_world_size()
    folder = [f"{PARTS}-{checkpoint['global_step']:06d}-{uuid.uuid4().hex[:8]}"]
    dist.broadcast_object_list(folder)
    index, parts = split(checkpoint, _rows)
    try:
        own = write_part(parts, part_file(path.parent / folder[0], process, processes)), None
    except OSError as error:
        own = None, (is_full(error), error.strerror or str(error))
    written = [None] * processes
    dist.all_gather_object(written, own)
    failures = [failure for _, failure in written if failure]
    if failures:
        full, why = min(failures)
        if not full:
            raise OSError(f"{path}: a process could not write its part: {why}")
        file.leave(path, checkpoint["global_step"], why)
        return None
    return index | {PARTS: {"folder": folder[0], "digests": [digest for digest, _ in written]}}


def _rows(tensor: Tensor) -> Tensor | None:
    return own_part(tensor) if is_sharded(tensor) else None
