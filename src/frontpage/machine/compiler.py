"""C++ that is compiled where it runs, for the processor it runs on, as `torch.compile` does it."""

import ctypes
import functools
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

COMPILERS = ("c++", "g++", "clang++")
SECONDS = 120.0  # more than a compiler takes that works


class NotCompiled(Exception):
    """There is no C++ compiler here, or it fails; the message says why in one line."""


@functools.cache
def compiled(source: Path, **values: str | int) -> ctypes.CDLL:
    """The library that `source` gives with the macros `values`; once a process and set of values, about a second.

    The compiler is that of the variable CXX, else the first of COMPILERS. Raises NotCompiled.
    """
    call = compiler()
    try:
        with tempfile.TemporaryDirectory(prefix="frontpage-") as folder:
            library = Path(folder, source.with_suffix(".so").name)
            macros = [f"-D{name}={value}" for name, value in values.items()]
            _run([*call, *_flags(), *macros, str(source), "-o", str(library)])
            return ctypes.CDLL(str(library))  # it stays loaded when the file is gone
    except OSError as error:  # there is no folder to write to, or one whose files may not be run
        raise NotCompiled(f"what {call[0]} makes cannot be kept or loaded ({error})") from error


def _run(command: list[str]) -> None:
    """Call the compiler. Raises NotCompiled with the first of what it says is wrong."""
    settings = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "errors": "replace"}
    try:
        ended = subprocess.run(command, timeout=SECONDS, **settings)
    except OSError as error:
        raise NotCompiled(f"{command[0]} fails ({error.strerror})") from error
    except subprocess.TimeoutExpired as error:
        raise NotCompiled(f"{command[0]} takes more than {SECONDS:.0f} seconds") from error
    if ended.returncode:
        lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
        said = [line for line in lines if "error" in line.lower()] or lines or [f"status {ended.returncode}"]
        raise NotCompiled(f"{command[0]} fails ({said[0]})")


def compiler() -> list[str]:
    """The words that call the C++ compiler. Raises NotCompiled where there is none."""
    if sys.platform == "win32":
        raise NotCompiled("not on Windows")
    said = os.environ.get("CXX", "")
    if said.strip():
        try:
            return shlex.split(said)
        except ValueError as error:
            raise NotCompiled(f"CXX={said}: {error}") from error
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        raise NotCompiled("no C++ compiler is installed (CXX, or one of " + " ".join(COMPILERS) + ")")
    return [found]


def _flags() -> list[str]:
    flags = ["-std=c++17", "-O3", "-ffp-contract=fast", "-shared", "-fPIC"]
    if platform.machine() in ("x86_64", "AMD64"):
        flags.append("-march=native")
    if sys.platform != "darwin":  # whose compiler has none, so that one thread computes
        flags.append("-fopenmp")  # the threads that PyTorch has already
    return flags
