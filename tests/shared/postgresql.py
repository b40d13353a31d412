"""A PostgreSQL server of its own on loopback, for tests of studies in a database."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

PASSWORD = "hush-hush-42"
PLACES = (os.environ["PATH"], *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True))
PROGRAMS = {name: shutil.which(name, path=os.pathsep.join(PLACES)) for name in ("initdb", "pg_ctl")}
AS = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # PostgreSQL refuses to run as root

NEEDED = [
    pytest.mark.skipif(None in PROGRAMS.values(), reason="needs PostgreSQL's server (Debian: postgresql)"),
    pytest.mark.skipif(AS != [] and shutil.which("runuser") is None, reason="as root it needs runuser"),
]


class Server:
    """A database server in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://sweeper:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        (folder / "password").write_text(PASSWORD)
        if AS:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres")
        keys = ["--username=sweeper", "--auth=scram-sha-256", f"--pwfile={folder}/password", "--no-sync"]
        self._do("initdb", "-E", "UTF8", *keys)
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = f"-c listen_addresses=127.0.0.1 -c fsync=off -p {self.port} -k {self.folder}"
        self._do("pg_ctl", "-l", f"{self.folder}/log", "-o", options, "-w", "start")

    def stop(self) -> None:
        """Stop, whoever is connected."""
        self._do("pg_ctl", "-m", "immediate", "-w", "stop")

    def _do(self, program: str, *arguments: str) -> None:
        words = [*AS, PROGRAMS[program], "-D", f"{self.folder}/data", *arguments]
        log = self.folder / "log"
        done = subprocess.run(words, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")


@pytest.fixture(scope="module")
def server():
    """A running server; not in tmp_path, which a root's postgres could not enter."""
    pytest.importorskip("psycopg", reason="needs the extra postgresql")
    folder = Path(tempfile.mkdtemp(prefix="frontpage_pg_"))
    running = None
    try:
        running = Server(folder)
        yield running
    finally:
        if running is not None:
            with contextlib.suppress(AssertionError):
                running.stop()
        shutil.rmtree(folder)
