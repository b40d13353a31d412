"""A checkpoint written anew: as a single file, or in parts as several processes would have written it."""

import os
import tempfile
import uuid
from pathlib import Path

from torch import Tensor

from frontpage.command.errors import UserError
from frontpage.runs.checked_file import bytes_of, write_whole
from frontpage.runs.checkpoint import open_checkpoint
from frontpage.runs.checkpoint_parts import PARTS, part_file, split, write_part

SHARDED = ("state_dict", "current_model_state", "optimizer_states")  # what processes have rows of


def convert(source: Path, target: Path, parts: int | None) -> None:
    """Write the checkpoint `source` as `target`, a single file, or with its rows in so many files beside it.

    Nothing of it is lost either way. UserError for what is no intact checkpoint, and for a `target` that is there
    already or is not named `*.ckpt`.
    """
    content = open_checkpoint(source, "checkpoint").content
    if target.suffix != ".ckpt":  # a run that saves beside it would take its parts for left over
        raise UserError(f"{target}: the name of a checkpoint ends in .ckpt")
    if target.exists():
        raise UserError(f"{target}: is there already; nothing is overwritten")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror})") from error
    if parts is not None:
        folder = f"{PARTS}-{content['global_step']:06d}-{uuid.uuid4().hex[:8]}"
        building = target.parent / f"converting-{folder}"  # a run that saves there would take it for left over
        spread, digests = {key: content[key] for key in SHARDED if key in content}, []
        for process in range(parts):
            index, rows = split(spread, lambda tensor, process=process: _rows(tensor, process, parts))
            digests.append(write_part(rows, part_file(building, process, parts)))
        os.replace(building, target.parent / folder)
        content = content | index | {PARTS: {"folder": folder, "digests": digests}}
    write_whole(target, bytes_of(content))


def _rows(tensor: Tensor, process: int, processes: int) -> Tensor | None:
    """The rows that FSDP2 gives a process; a single number has none."""
    if not tensor.ndim:
        return None
    cut = tensor.chunk(processes)
    return cut[process] if process < len(cut) else tensor[:0]
