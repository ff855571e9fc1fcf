"""Connections that have been long enough: their callers come back, perhaps to another server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing

import grpc
import pytest
from cascade_server.transport.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    Code,
    frame,
    settings,
)
from cascade_server.transport.server import lifetime
from hpack import Encoder

from tests.server.transport.peer import Frame, frames_of, message, request
from tests.server.transport.serving import SERVICE, serving


class Caller:
    """A connection that answers pings; h2 takes the first GOAWAY for the last word.

    Attributes:
        frames: that have come.
        closed: whether the server has ended.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.sendall(PREFACE + settings({}))
        self.frames: list[Frame] = []
        self.closed = False
        self._rest = b""

    def close(self) -> None:
        self.socket.close()

    def call(self, rpc: str, body: bytes) -> None:
        """Send a call on stream 1."""
        head = frame(HEADERS, END_HEADERS, 1, Encoder().encode(request(rpc)))
        self.socket.sendall(head + frame(DATA, END_STREAM, 1, message(body)))

    def until(self, done: Callable[[], bool]) -> None:
        while not done() and not self.closed:
            data = self.socket.recv(65_536)
            self.closed = not data
            found, self._rest = frames_of(self._rest + data)
            self.frames += found
            for kind, flags, _, payload in found:
                if kind == PING and not flags & ACK:
                    self.socket.sendall(frame(PING, ACK, 0, payload))

    @property
    def last_streams(self) -> list[int]:
        """The last stream that each GOAWAY says will be taken up."""
        said = [payload for kind, _, _, payload in self.frames if kind == GOAWAY]
        assert all(int.from_bytes(each[4:8], "big") == Code.NO_ERROR for each in said)
        return [int.from_bytes(each[:4], "big") for each in said]

    @property
    def answer(self) -> bytes:
        return b"".join(payload for kind, _, _, payload in self.frames if kind == DATA)


def test_a_connection_ends_when_it_has_been_long_enough() -> None:
    with serving(max_age=0.02) as transport, closing(Caller(transport.port)) as caller:
        caller.until(lambda: caller.closed)
        assert caller.last_streams == [2**31 - 1, 0]


def test_what_is_under_way_is_answered_first() -> None:
    with serving(max_age=0.02) as transport, closing(Caller(transport.port)) as caller:
        caller.call("Wait", b"still here")
        caller.until(lambda: len(caller.last_streams) == 2)
        assert caller.answer == b""
        transport.loop.call_soon_threadsafe(transport.service.go.set)
        caller.until(lambda: caller.closed)
        assert caller.answer == message(b"still here")


def test_a_server_that_stops_meanwhile_does_not_ask_again() -> None:
    """A GOAWAY may not name a higher stream than the one before it (RFC 9113, 6.8)."""
    with serving(max_age=0.02) as transport, closing(Caller(transport.port)) as caller:
        caller.call("Wait", b"x")
        caller.until(lambda: len(caller.last_streams) == 2)
        transport.run(transport.server.stop(0))
        caller.until(lambda: caller.closed)
        assert caller.last_streams == [2**31 - 1, 1]


def test_callers_of_grpc_notice_nothing() -> None:
    with serving(max_age=0.01) as transport, grpc.insecure_channel(transport.target) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Peer")
        connections: set[bytes] = set()
        while len(connections) < 3:
            connections.add(call(b"", timeout=30))


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 9.0), (0.5, 10.0), (1.0, 11.0)])
def test_ages_differ_by_a_tenth(drawn: float, seconds: float) -> None:
    """Callers that came together do not come again together."""
    assert lifetime(10.0, drawn) == pytest.approx(seconds)
