"""Who answers scrapes, and what strangers may do to it."""

from __future__ import annotations

import http.client
import logging
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from cascade_server.telemetry.scraping import ScrapeServer

from tests.typed import SOON


def numbers(_: dict[str, Any], start: Any) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"calls 1\n"]


@contextmanager
def answering(app: Any = numbers, **bounds: Any) -> Iterator[ScrapeServer]:
    server = ScrapeServer("127.0.0.1", 0, app, **bounds)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def asked(server: ScrapeServer) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=SOON)
    connection.request("GET", "/metrics")
    try:
        return connection.getresponse().read()
    finally:
        connection.close()


def test_an_answer() -> None:
    with answering() as server:
        assert asked(server) == b"calls 1\n"


def test_an_address_of_version_6() -> None:
    try:
        server = ScrapeServer("::1", 0, numbers)
    except OSError:
        pytest.skip("this machine has no IPv6")
    server.shutdown()
    server.server_close()


def test_no_name_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not answer would keep a server from beginning for half a minute."""

    def asks(*_: Any) -> str:
        raise AssertionError("a name server was asked")

    for name in ("getfqdn", "gethostbyaddr", "gethostbyname"):
        monkeypatch.setattr(socket, name, asks)
    with answering() as server:
        assert asked(server) == b"calls 1\n"


def test_who_leaves_in_the_midst_is_no_line(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    waits, goes, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(_: dict[str, Any], start: Any) -> Iterator[bytes]:
        write = start("200 OK", [("Content-Type", "text/plain")])
        waits.set()
        goes.wait(SOON)
        try:
            for _megabyte in range(100):
                write(bytes(2**20))
                yield b""
        finally:
            ended.set()

    with answering(slow) as server:
        gone = socket.create_connection(("127.0.0.1", server.server_port))
        gone.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert waits.wait(SOON)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
        goes.set()
        assert ended.wait(SOON)
        for request in (b"GET /" + b"a" * 70_000, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500):
            rude = socket.create_connection(("127.0.0.1", server.server_port))
            rude.sendall(request + b"\r\n\r\n")
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.close()
    assert capfd.readouterr().err == ""
    assert caplog.text == ""


def test_a_defect_is_a_line_of_the_log(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: dict[str, Any], start: Any) -> list[bytes]:
        raise ZeroDivisionError

    with answering(broken) as server:
        assert b"the server's log says why" in asked(server)
    # Nothing by WSGI's own server; the log may be written to standard error too.
    assert "wsgiref" not in capfd.readouterr().err
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.ERROR,
        "a scrape could not be answered",
    )


def test_who_says_nothing_holds_no_place_for_long() -> None:
    with answering(connections=1, patience=0.2) as server:
        silent = socket.create_connection(("127.0.0.1", server.server_port))
        silent.settimeout(SOON)
        assert silent.recv(1) == b""
        # Its place is free a moment after it has been closed.
        found = b""
        while not found:
            with suppress(http.client.RemoteDisconnected, ConnectionError):
                found = asked(server)
        assert found == b"calls 1\n"
        silent.close()


class Clock:
    """Says what it is told to say."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def ends(connection: socket.socket) -> bool:
    """Whether the server has ended a connection without a word; waits for it."""
    connection.settimeout(SOON)
    with suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


def connected(server: ScrapeServer, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", server.server_port)))


def test_a_byte_now_and_then_holds_no_place_for_long() -> None:
    """However little it waits for each, the server gives it one span of time for all."""
    clock = Clock()
    with answering(patience=SOON, clock=clock) as server, ExitStack() as stack:
        slow = connected(server, stack)
        # Who comes later is answered later: `slow` has its place by now.
        assert asked(server) == b"calls 1\n"
        for byte in (b"G", b"E", b"T"):
            slow.sendall(byte)
            clock.now += 0.4 * SOON
        assert ends(slow)
        assert asked(server) == b"calls 1\n"


def test_who_has_yet_to_ask_keeps_nobody_out() -> None:
    """Strangers in any number, each with the beginning of a request."""
    with answering(connections=4, patience=SOON) as server, ExitStack() as stack:
        strangers = [connected(server, stack) for _ in range(4)]
        for each in strangers:
            each.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        assert asked(server) == b"calls 1\n"
        assert ends(strangers[0])
        assert asked(server) == b"calls 1\n"


def test_who_has_asked_is_answered_whoever_comes() -> None:
    waits, goes = threading.Event(), threading.Event()

    def slow(_: dict[str, Any], start: Any) -> list[bytes]:
        waits.set()
        goes.wait(SOON)
        return numbers(_, start)

    with answering(slow, connections=2, patience=SOON) as server, ExitStack() as stack:
        first = connected(server, stack)
        first.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert waits.wait(SOON)
        strangers = [connected(server, stack) for _ in range(3)]
        assert ends(strangers[0])
        assert ends(strangers[1])
        goes.set()
        first.settimeout(SOON)
        assert b"200 OK" in first.recv(4096)


def test_where_all_have_asked_more_are_closed_at_once() -> None:
    waits, goes = threading.Event(), threading.Event()

    def slow(_: dict[str, Any], start: Any) -> list[bytes]:
        waits.set()
        goes.wait(SOON)
        return numbers(_, start)

    with answering(slow, connections=1, patience=SOON) as server, ExitStack() as stack:
        first = connected(server, stack)
        first.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert waits.wait(SOON)
        assert ends(connected(server, stack))
        goes.set()
        first.settimeout(SOON)
        assert b"200 OK" in first.recv(4096)
