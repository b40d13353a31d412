"""A checkpoint in parts: its file holds all but the sharded tensors, of which a folder beside it has a file a process.

The file has `parts`: the folder's name, and the checksums of its files in the order of their rows.

PyTorch's own form (torch.distributed.checkpoint) is not used, since its list of contents is a pickle: to read it runs
whatever code it holds. These are files of `torch.save`, each with its checksum, read without running any.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_with_path

from frontpage.runs.checked_file import bytes_of, digest_of, read_checked, write_whole

PARTS = "parts"

Take = Callable[[Tensor], Tensor | None]


def split(state: Any, take: Take) -> tuple[Any, dict[str, Tensor]]:
    """A nested state with empty tensors (meta) for those that `take` gives a part of, and these parts by their places.

    A part is some rows of a tensor; None leaves it where it is.
    """
    parts = {}

    def cut(path: tuple[Any, ...], leaf: Any) -> Any:
        part = take(leaf) if isinstance(leaf, Tensor) else None
        if part is None:
            return leaf
        parts[_name(path)] = part
        return torch.empty(leaf.shape, dtype=leaf.dtype, device="meta")

    return tree_map_with_path(cut, state), parts


def write_part(parts: Mapping[str, Tensor], path: Path) -> str:
    """Write the file of one process; its checksum. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, bytes_of({name: part.detach().cpu().clone() for name, part in parts.items()}))
    return digest_of(path)


def part_file(folder: Path, process: int, processes: int) -> Path:
    """The file of one process in the folder of a checkpoint's parts."""
    return folder / f"part-{process}-of-{processes}.pt"


def is_index(content: Any) -> bool:
    """Whether a checkpoint's file names parts."""
    return isinstance(content, dict) and PARTS in content


def opened_parts(index: Mapping[str, Any], beside: Path) -> list[dict[str, Tensor]]:
    """The parts that a file in the folder `beside` names, mapped; ValueError where one is not what was written."""
    folder, digests = beside / index[PARTS]["folder"], index[PARTS]["digests"]
    found = []
    for process, digest in enumerate(digests):
        path = part_file(folder, process, len(digests))
        if not path.is_file():
            raise ValueError(f"its part {folder.name}/{path.name} is gone")
        try:
            found.append(read_checked(path))
        except ValueError:
            raise
        except Exception as error:  # zip, pickle and end-of-file errors of every kind
            raise ValueError(f"its part {folder.name}/{path.name} is damaged") from error
        if digest_of(path) != digest:
            raise ValueError(f"its part {folder.name}/{path.name} is another checkpoint's")
    return found


def filled(index: Mapping[str, Any], beside: Path) -> dict[str, Any]:
    """The whole checkpoint, on the CPU; raises ValueError where a part is not what was written."""
    parts = opened_parts(index, beside)

    def fill(path: tuple[Any, ...], leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.device.type != "meta":
            return leaf
        found = torch.cat([part[_name(path)] for part in parts if _name(path) in part])
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise ValueError(f"the parts of {_name(path)} do not make a whole")
        return found

    return tree_map_with_path(fill, {key: value for key, value in index.items() if key != PARTS})


def remove_unnamed(folder: Path) -> None:
    """Remove the parts in `folder` that none of its checkpoints names; not those older than one that cannot be read."""
    named, spared = set(), 0.0
    for path in folder.glob("*.ckpt"):
        try:
            named.add(read_checked(path).get(PARTS, {}).get("folder"))
        except Exception:  # zip, pickle and end-of-file errors of every kind, and what is no dictionary
            spared = max(spared, path.stat().st_mtime)
    for path in folder.glob(f"{PARTS}-*"):
        if path.is_dir() and path.name not in named and path.stat().st_mtime > spared:
            shutil.rmtree(path, ignore_errors=True)


def _name(path: tuple[Any, ...]) -> str:
    """The place of a tensor in a nested state: `state_dict.net.embedding.weight`."""
    return ".".join(str(getattr(one, "key", getattr(one, "idx", one))) for one in path)
