"""Every cell of a notebook, run in a kernel of its own; the file stays as it is, and a copy has the outputs."""

import asyncio
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frontpage.command.disk_full import replacing
from frontpage.command.errors import BadValue, UserError
from frontpage.command.interrupts import heard
from frontpage.command.progress_line import ProgressLine

Said = Callable[[Path, str | None, float], None]
MARK = "frontpage_copy_of"  # in a copy's metadata: of which cells it is
COLOURS = re.compile("\x1b\\[[0-9;]*m")  # of a traceback


def notebooks_in(places: list[Path], chosen: str = "") -> list[Path]:
    """The notebooks that are named and those in the folders that are, by name; of these whose name has `chosen` in it.

    Raises UserError where that is none.
    """
    found = []
    for place in places:
        if not place.exists():
            raise BadValue("notebooks", place, "a notebook, or a folder of some; there is no such file")
        found += sorted(place.glob("*.ipynb")) if place.is_dir() else [place]
    kept = [path for path in found if chosen in path.stem]
    if not kept:
        names = " ".join(path.stem for path in found) or "none"
        raise UserError(f"no notebook to run: -k {chosen or 'not given'}, and there are {names}")
    return kept


def prepare_output(output: Path, paths: list[Path]) -> None:
    """Make the folder for the copies; UserError where it cannot be, or a copy would take the place of another file.

    An earlier copy whose cells nobody has edited is replaced.
    """
    names = [path.name for path in paths]
    for path in paths:
        if (output / path.name).resolve() == path.resolve():
            raise BadValue("--output", output, "another folder than that of the notebooks, which stay as they are")
        if names.count(path.name) > 1:
            raise BadValue("notebooks", path, f"one of each name: {output} has a copy of each")
        if os.path.lexists(output / path.name) and not _is_copy(output / path.name, path):
            raise BadValue(
                "--output",
                output / path.name,
                "is no copy of this version's notebook, or was edited; move it elsewhere",
            )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadValue("--output", output, f"a folder that can be written ({error.strerror})") from error


def _is_copy(path: Path, notebook: Path) -> bool:
    """Whether a file is what `run_notebook` has written, its cells as they were, or has the cells of `notebook`."""
    try:
        content, original = (json.loads(one.read_text(encoding="utf-8")) for one in (path, notebook))
        known = content["metadata"].get(MARK), _digest(original["cells"])
        return _digest(content["cells"]) in known
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _digest(cells: list[Any]) -> str:
    """Of the sources of cells, in which a file may have lines or a whole text."""
    sources = json.dumps(["".join(cell["source"]) for cell in cells])
    return hashlib.blake2b(sources.encode(), digest_size=16).hexdigest()


def run_notebooks(paths: list[Path], timeout: float | None, jobs: int, output: Path, say: Said) -> None:
    """Run them, `jobs` at a time, and `say` of each, as it ends, what `run_notebook` does and its seconds.

    Each kernel has its share of the cores for threads, unless OMP_NUM_THREADS says how many: threads that share a core
    wait for each other. All this in a thread of its own, where nbclient takes no signals over: it would answer them
    with a traceback. Kernels end by themselves when the program has ended.
    """
    threads = str(max((os.cpu_count() or 1) // jobs, 1))

    async def run_all() -> None:
        free = asyncio.Semaphore(jobs)

        async def run(path: Path) -> None:
            async with free:
                start = time.monotonic()
                problem = await run_notebook(path, timeout, output, {"OMP_NUM_THREADS": threads} | os.environ)
                say(path, problem, time.monotonic() - start)

        await asyncio.gather(*map(run, paths))

    heard(lambda: asyncio.run(run_all()))


async def run_notebook(path: Path, timeout: float | None, output: Path, environment: dict[str, str]) -> str | None:
    """Run the cells in the notebook's folder; None, or the first one that fails with its traceback.

    `timeout` is that of each cell, in seconds (None: no end), `environment` that of the kernel. A copy with what came
    of the cells is put into the folder `output`. Raises UserError where the file is no notebook.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    try:
        notebook = nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise BadValue("notebooks", path, f"no notebook ({str(error).splitlines()[0]})") from error
    logging.getLogger("traitlets").setLevel(logging.WARNING)
    line, number = ProgressLine(path.stem, len(notebook.cells)), 0

    def begin(cell: Any, cell_index: int) -> None:
        nonlocal number
        number = cell_index

    quiet = ["--log-level=CRITICAL"]  # what it says on stderr is of itself: no encryption, a reply no one waits for
    resources = {"metadata": {"path": str(path.resolve().parent)}}
    hooks = {"on_cell_start": begin, "on_cell_complete": lambda cell, cell_index: line.advance(1)}
    problem = None
    try:
        client = NotebookClient(notebook, timeout=timeout, resources=resources, extra_arguments=quiet, **hooks)
        await client.async_execute(env=environment)
    except (CellControlSignal, DeadKernelError) as error:  # the first has also a cell that takes too long
        problem = COLOURS.sub("", f"{path}, cell {number}:\n{error}")
    finally:
        line.close()
    notebook.metadata[MARK] = _digest(notebook.cells)
    with replacing(output / path.name) as partial:
        nbformat.write(notebook, partial)
    return problem
