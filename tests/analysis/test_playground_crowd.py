"""Promises of the playground to a crowd: many who ask at once are all answered, and nobody keeps a thread for ever."""

import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from frontpage.analysis.pages.playground.server import LOOPBACK, Handler, Playground

ALLOWED = Path("/proc/sys/net/core/somaxconn")
CROWD = min(200, int(ALLOWED.read_text()) if ALLOWED.exists() else 100)  # what the system lets wait


@contextmanager
def serving(playground):
    """Let it answer meanwhile."""
    thread = threading.Thread(target=playground.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        playground.shutdown()
        thread.join()


def everything(connection):
    """All that comes until the other side has closed."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def closed_after_a_drop(connection):
    """Whether the other side has closed, or does so while a single byte more is on its way."""
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:  # reset
        return True


def test_two_hundred_requests_at_once_are_all_answered():
    with Playground([], 0) as playground:
        asked = f"GET / HTTP/1.1\r\nHost: {LOOPBACK}:{playground.server_port}\r\n\r\n".encode()
        crowd = []
        for _ in range(CROWD):  # nobody is accepted yet: all of them wait
            crowd.append(socket.create_connection((LOOPBACK, playground.server_port), timeout=20))
            crowd[-1].sendall(asked)
        with serving(playground):
            answers = [everything(connection) for connection in crowd]
        for connection in crowd:
            connection.close()
    assert all(answer.startswith(b"HTTP/1.0 200") and answer.endswith(b"</html>\n") for answer in answers)


@pytest.mark.slow
@pytest.mark.parametrize("begun", ["", "GET / HTTP/1.1\r\nX-Long: ", "POST /continue HTTP/1.1\r\n{needed}\r\n\r\n{{"])
def test_a_request_that_drips_is_cut_off(monkeypatch, begun):
    monkeypatch.setattr(Handler, "timeout", 0.3)
    with Playground([], 0) as playground, serving(playground):
        host = f"Host: {LOOPBACK}:{playground.server_port}"
        needed = f"{host}\r\nContent-Type: application/json\r\nContent-Length: 5000"
        with socket.create_connection((LOOPBACK, playground.server_port), timeout=0.1) as connection:
            connection.sendall(begun.format(needed=needed).encode())
            # A drop before each tenth of a second is over: no single wait is ever long.
            assert any(closed_after_a_drop(connection) for _ in range(600)), "it was served for ever"
