"""A file system so small that it can be made full."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = 96  # MiB


@contextmanager
def small_disk(given: Path | None) -> Iterator[tuple[Path, bool]]:
    """A folder to work in, and whether it is a small file system that may be filled."""
    if given is not None:
        with tempfile.TemporaryDirectory(prefix="chaos_", dir=given) as folder:
            yield Path(folder), False
        return
    with tempfile.TemporaryDirectory(prefix="frontpage_chaos_") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", folder]
        mounted = sys.platform == "linux" and os.geteuid() == 0
        mounted = mounted and subprocess.run(mount, capture_output=True).returncode == 0
        if not mounted:
            print("no small file system can be mounted here (root on Linux can): a disk that fills is only pretended")
        try:
            yield Path(folder), mounted
        finally:
            if mounted:
                subprocess.run(["umount", folder], check=True)
