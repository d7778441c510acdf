"""The server of `hrm play`: who is refused, and what one client may use."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.playing.server import File, Limits, PlayServer
from hrm_cli.playing.worker import Stop, Worker

LIMITS = Limits(body_bytes=2000, request_seconds=1.0, connections=8, patience_seconds=0.05)
PAGE = b"<!doctype html><title>play</title>"


def wait_for_the_stop(document: Any, stop: Stop) -> Any:
    while True:
        stop.check()
        time.sleep(0.01)


def refuse(document: Any, stop: Stop) -> Any:
    raise PuzzleError("row 1 contains 1 more than once")


def fail(document: Any, stop: Stop) -> Any:
    raise ZeroDivisionError("a bug")


class Running:
    """A server in a thread, and what a client does with it."""

    def __init__(self) -> None:
        self.faults: list[BaseException] = []
        self.worker = Worker(seconds=20)
        self.server = PlayServer(
            {"": File(PAGE, "text/html; charset=utf-8"), "play.js": File(b"0", "text/javascript")},
            {
                "echo": lambda document, stop: document,
                "wait": wait_for_the_stop,
                "refuse": refuse,
                "fail": fail,
            },
            self.worker,
            limits=LIMITS,
            on_fault=self.faults.append,
        )
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.worker.close()

    def ask(
        self,
        path: str = "",
        document: Any = None,
        *,
        method: str | None = None,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        if document is not None:
            body = json.dumps(document).encode()
        usual = {} if body is None else {"Content-Type": "application/json"}
        address = f"/{self.server.token if token is None else token}/{path}"
        try:
            connection.request(
                method or ("GET" if body is None else "POST"), address, body, usual | (headers or {})
            )
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def raw(self, text: bytes) -> bytes:
        """What comes back for bytes that need not be HTTP."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(text)
            received = b""
            try:
                while part := connection.recv(4096):
                    received += part
            except ConnectionResetError:
                pass
            return received


@pytest.fixture
def running() -> Iterator[Running]:
    one = Running()
    yield one
    one.close()


def test_the_page_and_its_files_are_served_with_strict_headers(running: Running) -> None:
    status, headers, body = running.ask()
    assert (status, body) == (200, PAGE)
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in headers
    assert "Python" not in headers["Server"]
    assert running.ask("play.js")[1]["Content-Type"] == "text/javascript"
    assert running.ask(method="HEAD")[2] == b""


def test_an_action_answers_in_json(running: Running) -> None:
    status, headers, body = running.ask("api/echo", {"grid": [[1, 2]]})
    assert (status, json.loads(body)) == (200, {"grid": [[1, 2]]})
    assert headers["Content-Type"] == "application/json"


def test_only_this_machine_is_listened_on(running: Running) -> None:
    assert running.server.server_address[0] == "127.0.0.1"
    assert running.server.url.startswith(f"http://127.0.0.1:{running.port}/")


def test_every_server_has_its_own_long_token(running: Running) -> None:
    other = Running()
    other.close()
    assert other.server.token != running.server.token
    assert len(running.server.token) >= 32


@pytest.mark.parametrize("token", ["", "x", "é", "%00", "..", "a" * 5000])
@pytest.mark.parametrize("path", ["", "play.js", "api/echo"])
def test_a_wrong_token_is_refused(running: Running, token: str, path: str) -> None:
    if token == "é":
        assert b" 403 " in running.raw(f"GET /é/{path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return
    for document in (None, {"a": 1}):
        status, _, body = running.ask(path, document, token=token)
        assert status == 403
        assert PAGE not in body


def test_a_token_that_is_cut_short_is_refused(running: Running) -> None:
    assert running.ask(token=running.server.token[:-1])[0] == 403
    assert running.ask(token=running.server.token.swapcase())[0] == 403


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1.example.org", "localhost.example.org", "", "0.0.0.0", "user@127.0.0.1"]
)
def test_another_host_is_refused_because_its_name_may_lead_here(running: Running, host: str) -> None:
    for document in (None, {}):
        assert running.ask("" if document is None else "api/echo", document, headers={"Host": host})[0] == 403


def test_hosts_of_this_machine_are_served_on_any_port_so_that_ssh_may_forward_another(
    running: Running,
) -> None:
    for host in ("127.0.0.1", "localhost:9999", f"127.0.0.1:{running.port}", "[::1]:80", "LOCALHOST:1"):
        assert running.ask(headers={"Host": host})[0] == 200


def test_two_hosts_are_refused(running: Running) -> None:
    request = f"GET /{running.server.token}/ HTTP/1.1\r\nHost: localhost\r\nHost: example.org\r\n\r\n"
    assert b" 403 " in running.raw(request.encode())


def test_a_request_without_a_host_is_refused(running: Running) -> None:
    assert b" 403 " in running.raw(f"GET /{running.server.token}/ HTTP/1.0\r\n\r\n".encode())


@pytest.mark.parametrize(
    "origin", ["null", "https://example.org", "http://localhost:1", "http://127.0.0.1", "file://"]
)
def test_another_origin_is_refused(running: Running, origin: str) -> None:
    status, headers, _ = running.ask("api/echo", {}, headers={"Origin": origin})
    assert status == 403
    assert "Access-Control-Allow-Origin" not in headers


def test_the_pages_own_origin_is_served(running: Running) -> None:
    host = f"127.0.0.1:{running.port}"
    assert running.ask("api/echo", {}, headers={"Host": host, "Origin": f"http://{host}"})[0] == 200
    assert running.ask("api/echo", {}, headers={"Sec-Fetch-Site": "same-origin"})[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_a_post_that_the_browser_marks_as_foreign_is_refused(running: Running, site: str) -> None:
    assert running.ask("api/echo", {}, headers={"Sec-Fetch-Site": site})[0] == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_another_method_is_refused(running: Running, method: str) -> None:
    status, headers, _ = running.ask("api/echo", method=method)
    assert status == 405
    assert headers["Allow"] == "GET, HEAD, POST"


def test_actions_are_not_run_by_get_and_files_are_not_posted_to(running: Running) -> None:
    assert running.ask("api/echo")[0] == 404
    assert running.ask("", {})[0] == 405


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "play.js/../play.js", "./play.js", "/play.js", "play.js%00",
     "play.py", "C:\\play.js", "api/../play.js", "play.js/"],
)  # fmt: skip
def test_nothing_but_the_fixed_files_is_served(running: Running, path: str) -> None:
    request = f"GET /{running.server.token}/{path} HTTP/1.0\r\nHost: localhost\r\n\r\n"
    assert b" 404 " in running.raw(request.encode())


def test_a_body_that_is_too_large_is_refused_without_reading_it(running: Running) -> None:
    assert running.ask("api/echo", "x" * 5000)[0] == 413
    request = f"POST /{running.server.token}/api/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    assert b" 413 " in running.raw(f"{request}Content-Length: 999999999999\r\n\r\n".encode())
    assert running.ask("api/echo", "x" * 1900)[0] == 200


@pytest.mark.parametrize(
    "length",
    [
        "",
        "Content-Length: -1",
        "Content-Length: 1e3",
        "Content-Length: 2\r\nContent-Length: 3",
        "Transfer-Encoding: chunked",
    ],
)
def test_a_body_without_a_plain_length_is_refused(running: Running, length: str) -> None:
    request = (
        f"POST /{running.server.token}/api/echo HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\n{length}\r\n\r\n{{}}"
    )
    assert b" 411 " in running.raw(request.encode())


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_that_a_form_of_another_page_could_send_is_refused(running: Running, kind: str) -> None:
    assert running.ask("api/echo", {}, headers={"Content-Type": kind})[0] == 415


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"NaN", b"[" * 1500])
def test_a_body_that_is_not_json_is_refused(running: Running, body: bytes) -> None:
    assert running.ask("api/echo", body=body, method="POST")[0] == 400
    assert running.faults == []


def send_slowly(connection: socket.socket) -> None:
    for _ in range(200):
        connection.sendall(b"a")
        time.sleep(0.05)


@pytest.mark.parametrize("beginning", [b"", b"GET /", b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Le"])
def test_a_request_that_trickles_in_is_cut_off(running: Running, beginning: bytes) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(beginning)
        # A byte now and then would reset a limit that counted from the last one.
        with pytest.raises(OSError):  # noqa: PT011 - a reset or a closed pipe
            send_slowly(connection)
    assert time.monotonic() - began < 5
    assert running.ask()[0] == 200


def test_a_body_that_trickles_in_is_cut_off(running: Running) -> None:
    head = f"POST /{running.server.token}/api/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    began = time.monotonic()
    assert b" 408 " in running.raw(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    assert time.monotonic() - began < 5


def test_the_number_of_connections_is_bounded(running: Running) -> None:
    held = [socket.create_connection(("127.0.0.1", running.port), timeout=10) for _ in range(30)]
    time.sleep(0.3)
    assert sum(thread.name.startswith("Thread-") for thread in threading.enumerate()) < 20
    for connection in held:
        connection.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert running.ask()[0] == 200
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
    pytest.fail("the places of closed connections were not given back")


@pytest.mark.parametrize(
    "text",
    [b"\x16\x03\x01\x02\x00\x01\x00\r\n", b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70000],
)
def test_what_is_not_http_is_answered_and_forgotten(running: Running, text: bytes) -> None:
    running.raw(text)
    assert running.ask()[0] == 200
    assert running.faults == []


def test_an_error_of_the_input_is_answered_in_the_words_of_the_command(running: Running) -> None:
    status, _, body = running.ask("api/refuse", {})
    assert (status, json.loads(body)) == (200, {"error": "row 1 contains 1 more than once"})


def test_a_bug_is_reported_and_the_server_keeps_serving(running: Running) -> None:
    status, _, body = running.ask("api/fail", {})
    assert status == 500
    assert "internal error of hrm (ZeroDivisionError: a bug)" in json.loads(body)["error"]
    assert [type(error) for error in running.faults] == [ZeroDivisionError]
    assert running.ask("api/echo", {})[0] == 200


def begin_waiting(running: Running) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    connection.request(
        "POST", f"/{running.server.token}/api/wait", b"{}", {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 5
    while running.ask("api/echo", {})[0] != 409:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return connection


def test_a_second_solve_is_refused_while_one_runs(running: Running) -> None:
    connection = begin_waiting(running)
    status, _, body = running.ask("api/echo", {})
    assert status == 409
    assert "another puzzle is being solved" in json.loads(body)["error"]
    assert running.ask()[0] == 200, "the page itself is always served"
    connection.close()


def test_a_client_that_goes_away_stops_its_solve(running: Running) -> None:
    connection = begin_waiting(running)
    connection.close()
    deadline = time.monotonic() + 5
    while running.ask("api/echo", {})[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_solve_ends_at_the_time_limit(running: Running) -> None:
    running.worker.seconds = 0.2
    status, _, body = running.ask("api/wait", {})
    assert status == 200
    assert json.loads(body)["stopped"]
    assert "stopped after 0.2 s, the time limit" in json.loads(body)["error"]


def test_closing_stops_a_running_solve(running: Running) -> None:
    connection = begin_waiting(running)
    began = time.monotonic()
    running.worker.close()
    assert time.monotonic() - began < 3
    assert json.loads(connection.getresponse().read())["stopped"]


def test_a_port_in_use_is_named(running: Running) -> None:
    with pytest.raises(ConfigError, match=f"--port {running.port}: cannot be used"):
        PlayServer({}, {}, running.worker, port=running.port)
