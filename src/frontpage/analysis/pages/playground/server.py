"""The playground's server: Python's own, for this machine's browsers and no other page than its own."""

import base64
import errno
import hashlib
import io
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from frontpage.analysis.pages.playground.answers import MOST_TITLES, OpenRun, continuations, described, read_settings
from frontpage.analysis.pages.web_page.render import rendered
from frontpage.command.errors import BadValue, UserError
from frontpage.command.terminal import printable_json

LOOPBACK = "127.0.0.1"
LARGEST_BODY = 16 * 1024  # bytes of a request
SECONDS = 30  # within which a whole request has come, and each piece of the answer has been taken
WAITING = 1024  # connections that are taken before their threads have begun; the system may allow fewer


class Playground(ThreadingHTTPServer):
    """Serves a page for these runs on the loopback interface; port 0 takes a free one. Raises UserError.

    `GET /` is the page, `POST /continue` answers with lines of JSON as tokens are drawn.
    """

    daemon_threads = True
    request_queue_size = WAITING

    def __init__(self, runs: Sequence[OpenRun], port: int) -> None:
        self.runs = list(runs)
        shown = [described(run) for run in self.runs]
        self.page = rendered("playground/page.html", runs=shown, most_titles=MOST_TITLES)
        self.policy = _policy(self.page)
        self.computing = threading.Lock()  # one token at a time, whoever asks
        try:
            super().__init__((LOOPBACK, port), Handler)
        except OSError as error:
            taken = "in use by another program" if error.errno == errno.EADDRINUSE else f"not to be had ({error})"
            raise BadValue("--port", port, f"{taken}; name another one, or 0 for any that is free") from error

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{LOOPBACK}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone away is no error: a page that types on does it all the time."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One request. Who asks under another name than this machine's, or from another page, is refused."""

    server: Playground
    server_version, sys_version = "Frontpage", ""
    timeout: float = SECONDS

    def setup(self) -> None:
        """Read with one deadline for the whole request: who sends a byte now and then keeps no thread for ever."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_UntilDeadline(self.connection, self.timeout))

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        """The page."""
        if not self._from_here():
            return
        if self.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page.encode())
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"{self.path}: there is nothing here; open {self.server.address}")

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        """Continuations of the beginning of a title, line by line."""
        if not self._from_here():
            return
        if self.path != "/continue":
            return self._refuse(HTTPStatus.NOT_FOUND, f"{self.path}: there is nothing here to ask")
        if self.headers.get_content_type() != "application/json":
            return self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the Content-Type must be application/json")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,9}", length):
            return self._refuse(HTTPStatus.LENGTH_REQUIRED, "the Content-Length is missing")
        if int(length) > LARGEST_BODY:
            self.rfile.read(min(int(length), 64 * LARGEST_BODY))  # so that who sends it comes to read the answer
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {LARGEST_BODY} bytes")
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return self._refuse(HTTPStatus.BAD_REQUEST, "the request is not JSON")
        try:
            settings = read_settings(asked, len(self.server.runs))
            events = continuations(self.server.runs[settings["run"]], settings)
        except UserError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        self._headers(HTTPStatus.OK, "application/x-ndjson; charset=utf-8")
        while True:
            with self.server.computing:
                event = next(events, None)
            if event is None:
                return
            self.wfile.write(_json(event) + b"\n")
            self.wfile.flush()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: stderr is for errors."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses, in the form of everything else."""
        self._refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def _from_here(self) -> bool:
        """Whether the request names this machine and comes from no other page; if not, it is refused.

        The first keeps out a foreign page whose name was made to lead here (DNS rebinding).
        """
        hosts = [f"{name}:{self.server.server_port}" for name in (LOOPBACK, "localhost")]
        host, origin = self.headers.get("Host"), self.headers.get("Origin")
        if host not in hosts:
            self._refuse(HTTPStatus.FORBIDDEN, f"this server answers as {' or '.join(hosts)} only")
        elif origin is not None and origin != f"http://{host}":
            self._refuse(HTTPStatus.FORBIDDEN, "this server answers its own page only")
        elif self.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            self._refuse(HTTPStatus.FORBIDDEN, "this server answers its own page only")
        else:
            return True
        return False

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self.close_connection = True
        self._send_json(status, {"error": sentence})

    def _send_json(self, status: HTTPStatus, content: Any) -> None:
        self._send(status, "application/json; charset=utf-8", _json(content))

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._headers(status, kind, len(body))
        self.wfile.write(body)

    def _headers(self, status: HTTPStatus, kind: str, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Content-Security-Policy", self.server.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()


class _UntilDeadline(io.RawIOBase):
    """What a connection sends within so many seconds from now; TimeoutError after that."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection, self._seconds = connection, seconds
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for as long as is left; what is written keeps its own time."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._seconds)


def _json(content: Any) -> bytes:
    return printable_json(json.dumps(content, ensure_ascii=False, allow_nan=False)).encode()


def _policy(page: str) -> str:
    """A Content-Security-Policy that lets the page's own script and style run, and nothing else."""

    def allowed(tag: str) -> str:
        parts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in parts)
        return " ".join(f"'sha256-{digest}'" for digest in hashes)

    return (
        f"default-src 'none'; script-src {allowed('script')}; style-src {allowed('style')}; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
