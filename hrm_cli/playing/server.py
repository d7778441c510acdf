"""The server of the page: this machine only, a secret in the address, small requests with a time limit.

It serves fixed files and answers POST requests with JSON. Other web pages in the same browser must not be able to use
it: `Host` has to name this machine (DNS rebinding), `Origin` has to be the page itself, every address begins with a
random token, and bodies are JSON, which other origins cannot send without asking first.
"""

from __future__ import annotations

import hmac
import io
import json
import re
import secrets
import select
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from hrm_cli.errors import ConfigError, HRMError, fault
from hrm_cli.json_text import parse_json
from hrm_cli.playing.worker import Busy, Stop, Stopped, Worker

ADDRESS = "127.0.0.1"
Action = Callable[[Any, Stop], Any]
"""Answers a request: its JSON document → a JSON document."""

_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_LENGTH = re.compile(r"\d{1,12}", re.ASCII)
_MOMENT = 0.5
"""Seconds."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class File:
    """A file that is served."""

    body: bytes
    content_type: str


@dataclass(frozen=True)
class Limits:
    """What one client may use."""

    body_bytes: int = 1 << 20
    request_seconds: float = 10.0
    """Time in which a whole request has to arrive, and in which an answer has to be taken."""
    connections: int = 32
    """Connections at once."""
    patience_seconds: float = 15.0
    """Time that a request waits for another one to end before it is refused."""


class PlayServer(ThreadingHTTPServer):
    """Serves `files` (name → content; the page is `""`) and `actions` (name → function of a JSON document).

    Actions run in `worker`, one at a time. Port 0 takes a free one. Raises ConfigError if the port cannot be used.
    """

    daemon_threads = True
    block_on_close = False
    # Elsewhere this option lets a server restart at once. On Windows it would let another program take the port.
    allow_reuse_address = sys.platform != "win32"

    def __init__(
        self,
        files: Mapping[str, File],
        actions: Mapping[str, Action],
        worker: Worker,
        *,
        port: int = 0,
        limits: Limits | None = None,
        on_fault: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self.files = files
        self.actions = actions
        self.worker = worker
        self.limits = limits or Limits()
        self.on_fault = on_fault
        self.token = secrets.token_urlsafe(24)
        self._slots = threading.BoundedSemaphore(self.limits.connections)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"--port {port}: cannot be used ({reason}); without --port, a free port is used"
            ) from None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection, or closes it if there are too many."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serves a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Reports errors, except that a client has disconnected."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.on_fault(error)

    def server_bind(self) -> None:
        """Binds without looking up this machine's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, int(self.server_address[1])


class _Refused(Exception):  # noqa: N818
    """A request that is not served: status and reason."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _TimedReader(io.RawIOBase):
    """Reads from a socket until a deadline, however slowly the bytes arrive."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long to arrive")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request, then closes the connection (HTTP/1.0), so that none is idle and counts toward the limit."""

    server: PlayServer
    server_version = "hrm"
    sys_version = ""

    def setup(self) -> None:
        """Puts a time limit on reading the request and on writing the answer."""
        seconds = self.server.limits.request_seconds
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_TimedReader(self.connection, seconds))

    def do_GET(self) -> None:
        """A file."""
        self._answer(self._file)

    def do_HEAD(self) -> None:
        """The headers of a file."""
        self._answer(self._file)

    def do_POST(self) -> None:
        """An action."""
        self._answer(self._action)

    def _not_allowed(self) -> None:
        self._answer(self._refuse_method)

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _not_allowed

    def _answer(self, find: Callable[[str], File]) -> None:
        try:
            self._check_source()
            status, content = HTTPStatus.OK, find(self._name())
        except _Refused as error:
            status, content = error.status, _json({"error": str(error)})
        except TimeoutError as error:
            status, content = HTTPStatus.REQUEST_TIMEOUT, _json({"error": str(error)})
        self._send(status, content)

    def _check_source(self) -> None:
        """Refuses requests that other web pages make, and requests for another machine."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0].strip()):
            raise _Refused(HTTPStatus.FORBIDDEN, "Host: only 127.0.0.1 and localhost are served")
        origins = self.headers.get_all("Origin") or []
        if origins and origins != [f"http://{hosts[0].strip()}"]:
            raise _Refused(HTTPStatus.FORBIDDEN, "Origin: only this page may send requests")
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        if self.command == "POST" and site != "same-origin":
            raise _Refused(HTTPStatus.FORBIDDEN, "Sec-Fetch-Site: only this page may send requests")

    def _name(self) -> str:
        """The address behind the token. It is looked up in a table, never in a folder."""
        _, token, *rest = [*urlsplit(self.path).path.split("/", 2), ""][:3]
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            raise _Refused(
                HTTPStatus.FORBIDDEN, "the address has no valid token; open the one that hrm play printed"
            )
        return rest[0]

    def _file(self, name: str) -> File:
        if name not in self.server.files:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing at this address")
        return self.server.files[name]

    def _refuse_method(self, name: str) -> File:
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and POST are served")

    def _action(self, name: str) -> File:
        action = self.server.actions.get(name.removeprefix("api/")) if name.startswith("api/") else None
        if action is None:
            known = name in self.server.files
            status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
            raise _Refused(status, "there is no action at this address")
        document = self._document()
        try:
            patience = self.server.limits.patience_seconds
            result = self.server.worker.run(
                lambda stop: action(document, stop), self._is_gone, patience=patience
            )
            return _json(result)
        except Busy as error:
            raise _Refused(HTTPStatus.CONFLICT, str(error)) from None
        except Stopped as error:
            return _json({"error": str(error), "stopped": True})
        except HRMError as error:
            return _json({"error": str(error)})
        except MemoryError as error:
            return _json({"error": f"not enough memory: {error or 'the request does not fit'}"})
        except Exception as error:
            self.server.on_fault(error)
            raise _Refused(HTTPStatus.INTERNAL_SERVER_ERROR, fault(error)) from None

    def _document(self) -> Any:
        """The JSON document of a request. Refuses other content, and an unknown or large length."""
        lengths = self.headers.get_all("Content-Length") or []
        if self.headers.get("Transfer-Encoding") or len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "Content-Length: expected one number of bytes")
        length, most = int(lengths[0]), self.server.limits.body_bytes
        if length > most:
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{length:,} bytes; at most {most:,} are accepted"
            )
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type: expected application/json")
        body = self.rfile.read(length)
        if len(body) < length:
            raise _Refused(HTTPStatus.BAD_REQUEST, "the request ended early")
        try:
            return parse_json(body)
        except ValueError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from None

    def _is_gone(self) -> bool:
        """Whether the client has closed the connection: the page was closed, or its user stopped the solve."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):
            return True

    def _send(self, status: HTTPStatus, content: File) -> None:
        self.connection.settimeout(self.server.limits.request_seconds)
        self.close_connection = True
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD, POST")
        self.send_header("Content-Type", content.content_type)
        self.send_header("Content-Length", str(len(content.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content.body)
        if status >= HTTPStatus.BAD_REQUEST:
            self._discard()

    def _discard(self) -> None:
        """Reads the rest of a refused request for a moment, because closing with unread bytes could lose the answer."""
        self.wfile.flush()
        left, deadline = self.server.limits.body_bytes, time.monotonic() + _MOMENT
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (seconds := deadline - time.monotonic()) > 0:
                self.connection.settimeout(seconds)
                received = self.connection.recv(min(left, 1 << 16))
                if not received:
                    return
                left -= len(received)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers requests that are not valid HTTP, in the same form as all others."""
        status = HTTPStatus(code)
        if not hasattr(self, "command") or self.command is None:
            self.command = ""
        self._send(status, _json({"error": status.phrase}))

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing: addresses contain the token."""


def _json(document: Any) -> File:
    return File(json.dumps(document, allow_nan=False).encode(), "application/json")
