"""What the intake's answers mean, and one limit for a whole answer."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
import requests
import urllib3.exceptions

from graph_entra.clock import SystemClock
from graph_entra.delivery import intake_http
from graph_entra.delivery.intake_http import event_ids, meaning
from graph_entra.errors import IntakeRefused, IntakeTimedOut, IntakeUnavailable


def answer(
    status: int, content: bytes = b"", headers: dict[str, str] | None = None, method: str = "POST"
) -> requests.Response:
    """An answer as requests hands it on."""
    made = requests.Response()
    made.status_code = status
    made._content = content
    made.headers.update(headers or {})
    made.request = requests.Request(method, "https://intake.example/batch").prepare()
    return made


MEANINGS = {
    "passes": [408, 425, 429, 500, 502, 503, 504, 520, 599],
    "content": [400, 413, 422],
    "person": [300, 304, 401, 402, 403, 404, 405, 407, 409, 410, 411, 415, 421, 431, 451],
}


@pytest.mark.parametrize(("status", "expected"), [(one, what) for what, of in MEANINGS.items() for one in of])
def test_each_status_has_one_meaning(status: int, expected: str) -> None:
    """Who can mend it: time, whoever made the record, or a person; and the status that was answered is reported."""
    assert meaning(status) == expected
    with pytest.raises(IntakeUnavailable if expected == "passes" else IntakeRefused) as raised:
        event_ids(answer(status, b'{"event_ids":["1"]}'), 1)
    assert str(raised.value) == f"the intake answered {status}"
    assert getattr(raised.value, "status", status) == status
    assert isinstance(raised.value, IntakeTimedOut) == (status in (408, 504))


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (b'{"event_ids": ["1", "2"]}', ["1", "2"]),
        (b' \r\n{"event_ids": ["1"], "more": true}', ["1"]),
        (b'{"event_ids": []}', []),
        (b"", ["", ""]),
        (b"\n", ["", ""]),
        (b"{}", ["", ""]),
        (b'{"status": "accepted"}', ["", ""]),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_success_names_its_events_or_stands_for_all(status: int, content: bytes, ids: list[str]) -> None:
    """Fewer ids than events are not made up for."""
    assert event_ids(answer(status, content), 2) == ids


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>Sign in to the guest network", "an HTML page: a proxy or a portal on the way"),
        (b"OK", "something unreadable"),
        (b'{"event_ids": ["1", "', "something unreadable"),
        (b'{"event_ids": 7}', "acknowledges nothing"),
        (b'{"event_ids": null}', "acknowledges nothing"),
        (b'{"error": "quota"}', "acknowledges nothing"),
        (b'{"errors": ["quota"]}', "acknowledges nothing"),
        (b"[]", "acknowledges nothing"),
        (b"null", "acknowledges nothing"),
    ],
)
def test_what_is_no_answer_of_the_intakes_is_told_as_what_it_is(content: bytes, words: str) -> None:
    """A page of a portal with status 200 has stored nothing."""
    with pytest.raises(IntakeUnavailable, match=words):
        event_ids(answer(200, content), 2)


@pytest.mark.parametrize(
    ("header", "asked_s"), [("7", 7.0), ("2.128", 2.128), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("", None)]
)
@pytest.mark.parametrize("status", [429, 503])
def test_how_long_it_asks_to_wait_is_handed_on(status: int, header: str, asked_s: float | None) -> None:
    """A date is not: the usual pauses are short enough."""
    with pytest.raises(IntakeUnavailable) as raised:
        event_ids(answer(status, headers={"Retry-After": header}), 1)
    assert raised.value.retry_after_s == asked_s


def test_a_redirect_that_loses_the_push_is_no_success() -> None:
    """From http to https with a 301, the push becomes a GET: an empty 200 to that acknowledges nothing."""
    redirected = answer(200, method="GET")
    redirected.history = [answer(301)]
    with pytest.raises(IntakeRefused) as raised:
        event_ids(redirected, 1)
    assert raised.value.status == 301
    kept = answer(200)
    kept.history = [answer(308)]
    assert event_ids(kept, 1) == [""]


@contextmanager
def served(talk: Callable[[socket.socket, Event], None]) -> Iterator[str]:
    """The address of a server that talks as it likes, once for each connection."""
    over = Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        _read_request(connection)
                        talk(connection, over)
                    except OSError:
                        continue

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/batch"
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def _read_request(connection: socket.socket) -> bool:
    """Reads up to the first byte of the body; what is left unread would end the connection with a reset."""
    read = b""
    while not read.partition(b"\r\n\r\n")[2]:
        more = connection.recv(1 << 16)
        if not more:
            return False
        read += more
    return True


def session() -> requests.Session:
    """A session over the intake's connections."""
    made = requests.Session()
    made.trust_env = False
    made.mount("http://", intake_http._OneLimit(SystemClock()))
    return made


def _trickle(text: bytes) -> Callable[[socket.socket, Event], None]:
    def talk(connection: socket.socket, over: Event) -> None:
        for number in range(len(text)):
            connection.sendall(text[number : number + 1])
            if over.wait(0.02):
                return

    return talk


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n"
TRICKLES = {
    "status line": b"HTTP/1.1 200 " + b"O" * 1000,
    "headers": HEAD + b"X-Header: " + b"x" * 1000,
    "body": HEAD + b"\r\n" + b" " * 1000,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 300,
    "silence": b"",
}


@pytest.mark.parametrize("text", TRICKLES.values(), ids=TRICKLES)
def test_one_limit_for_a_whole_answer(text: bytes) -> None:
    """A byte now and then does not prolong it, wherever in the answer: requests' own limit is one between two reads."""

    def talk(connection: socket.socket, over: Event) -> None:
        if text.startswith(HEAD):
            connection.sendall(HEAD)
        _trickle(text.removeprefix(HEAD))(connection, over)
        over.wait(5)

    with served(talk) as address, session() as client:
        started = time.monotonic()
        with pytest.raises(requests.RequestException) as raised:
            client.post(address, data=b"x", timeout=(1, 0.3))
        assert 0.25 < time.monotonic() - started < 2
        assert intake_http._timed_out(raised.value)


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 2\r\nConnection: close\r\n",
        b"Connection: close\r\n",
        b"Content-Length: 0\r\nConnection: close\r\n",
    ],
)
def test_a_whole_answer_is_read_whole(headers: bytes) -> None:
    """Whether its length is stated or the connection's end says it, also when it comes in pieces."""
    text = b"" if b": 0" in headers else b"{}"

    def talk(connection: socket.socket, over: Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n")
        time.sleep(0.02)
        connection.sendall(text)

    with served(talk) as address, session() as client:
        for _ in range(3):
            assert client.post(address, data=b"x", timeout=(1, 1)).content == text


def test_a_connection_is_used_again_with_a_limit_of_its_own() -> None:
    """What the first answer has used of its time is not taken from the second."""
    connections = 0

    def talk(connection: socket.socket, over: Event) -> None:
        nonlocal connections
        connections += 1
        for _ in range(3):
            time.sleep(0.2)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            if not _read_request(connection):
                return

    with served(talk) as address, session() as client:
        for _ in range(3):
            assert client.post(address, data=b"x", timeout=(1, 0.35)).status_code == 200
    assert connections == 1


def test_who_could_not_be_reached_was_not_too_slow() -> None:
    """Nothing was sent: a smaller push would not help. A system's own time-out in connecting is no other."""
    refused = requests.ConnectionError(
        urllib3.exceptions.MaxRetryError(
            urllib3.HTTPConnectionPool("x"),
            "/",
            urllib3.exceptions.NewConnectionError(urllib3.HTTPConnectionPool("x"), "refused"),  # type: ignore[arg-type]
        )
    )
    refused.args[0].reason.__cause__ = TimeoutError(110, "Connection timed out")
    assert not intake_http._timed_out(refused)
    assert not intake_http._timed_out(requests.ConnectionError("reset"))
    with session() as client, pytest.raises(requests.ConnectionError) as raised:
        client.post("http://127.0.0.1:1/batch", timeout=(1, 1))
    assert not intake_http._timed_out(raised.value)


def test_a_push_that_cannot_be_sent_in_time_is_too_large_for_the_line() -> None:
    """The limit of the connection bounds the sending as well: then a smaller batch may get through."""

    def talk(connection: socket.socket, over: Event) -> None:
        over.wait(5)  # reads no further

    with served(talk) as address, session() as client:
        with pytest.raises(requests.RequestException) as raised:
            client.post(address, data=b"x" * 50_000_000, timeout=(0.3, 5))
        assert intake_http._timed_out(raised.value)
