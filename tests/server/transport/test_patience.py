"""What takes too long ends. The clock is the tests', and stands still until they say otherwise."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cascade_server.transport import TransportLimits
from cascade_server.transport.http2.frames import (
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    Code,
    Setting,
    frame,
    settings,
    window_update,
)

from tests.server.transport.conformance.peer import begins, ends, fields, of
from tests.server.transport.peer import Frame, Peer, Raw, frames_of, message, request
from tests.server.transport.serving import Serving, serving

LIMITS = TransportLimits()
MARK = frame(PING, 0, 0, b"read it.")


class Clock:
    """Says what it is told to say."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Line:
    """A connection by hand, to a server whose clock can be moved."""

    def __init__(self, transport: Serving, clock: Clock, connection: socket.socket) -> None:
        self.transport, self.clock, self.socket = transport, clock, connection
        self.frames: list[Frame] = []
        self._rest = b""
        self.say(PREFACE + settings({}))

    def say(self, sent: bytes) -> None:
        """Send, and wait until the server has gone through it."""
        # The PING may come first: all that comes with it is gone through before it is answered, as
        # long as the clock stands still.
        first = sent.startswith(PREFACE)
        self.socket.sendall(sent + MARK if first else MARK + sent)
        count = self.count(PING)
        while self.count(PING) == count:
            assert self.read()

    def count(self, kind: int) -> int:
        return sum(each[0] == kind for each in self.frames)

    def read(self) -> bool:
        """Take what comes next; False: the server has closed."""
        data = self.socket.recv(65_536)
        found, self._rest = frames_of(self._rest + data)
        self.frames += found
        return bool(data)

    def passes(self, seconds: float) -> None:
        """Let time go by, and have the server look at its connections."""
        self.clock.now += seconds

        async def check() -> None:
            self.transport.server.check()

        self.transport.run(check())

    def goaway(self) -> tuple[int, str]:
        """How the server took its leave; waits for it."""
        while not self.count(GOAWAY):
            assert self.read()
        (found,) = [f[3] for f in self.frames if f[0] == GOAWAY]
        return int.from_bytes(found[4:8], "big"), found[8:].decode()

    def end(self, stream: int) -> Frame:
        """The last frame of a stream; waits for it."""
        while True:
            for each in self.frames:
                if each[2] == stream and (each[0] == RST_STREAM or each[1] & 1):
                    return each
            assert self.read()


@contextmanager
def line(**limits: object) -> Iterator[Line]:
    clock = Clock()
    with (
        serving(clock=clock, **limits) as transport,
        socket.create_connection(("127.0.0.1", transport.port), timeout=20) as connection,
    ):
        yield Line(transport, clock, connection)


class TestWhatTheCallerSends:
    """Headers, frames and messages that are begun and not ended."""

    def test_a_header_block(self) -> None:
        with line() as peer:
            peer.say(begins(1, fields(), 0))
            peer.passes(LIMITS.headers_seconds - 1)
            assert not peer.count(GOAWAY)
            peer.passes(2)
            assert peer.goaway() == (Code.ENHANCE_YOUR_CALM, "headers that take more than 10 s")

    def test_half_a_frame(self) -> None:
        with line() as peer:
            peer.say(frame(HEADERS, 0, 1, fields())[:20])
            peer.passes(LIMITS.message_seconds - 1)
            assert not peer.count(GOAWAY)
            peer.passes(2)
            assert peer.goaway() == (Code.ENHANCE_YOUR_CALM, "a frame that takes more than 60 s")

    @pytest.mark.parametrize("sent", [b"", b"\0\0\0\0\5ab"])
    def test_the_message_of_a_unary_call(self, sent: bytes) -> None:
        with line() as peer:
            peer.say(begins(1) + (frame(DATA, 0, 1, sent) if sent else b"") + begins(3, of("Chat")))
            peer.passes(LIMITS.message_seconds - 1)
            peer.passes(2)
            last = peer.end(1)
            assert b"grpc-status\x014" in last[3]
            assert b"a message that takes more than 60 s" in last[3]
            # The other call has begun no message, and may be silent for as long as it likes.
            assert not any(f[2] == 3 for f in peer.frames)
            assert not peer.count(GOAWAY)

    def test_a_message_of_a_stream(self) -> None:
        with line() as peer:
            peer.say(begins(1, of("Chat")) + frame(DATA, 0, 1, message(b"whole")))
            peer.passes(LIMITS.message_seconds * 3)
            peer.say(frame(DATA, 0, 1, message(b"half")[:6]))
            peer.passes(LIMITS.message_seconds - 1)
            peer.say(frame(DATA, 0, 1, message(b"half")[6:]))
            peer.passes(LIMITS.message_seconds - 1)
            assert not any(f[2] == 1 and f[1] & 1 for f in peer.frames)
            peer.say(frame(DATA, 0, 1, b"\0"))
            peer.passes(LIMITS.message_seconds + 1)
            assert b"a message that takes" in peer.end(1)[3]


class TestAnswers:
    """What is not read is not kept."""

    def test_an_answer_that_is_not_read_ends(self) -> None:
        with line() as peer:
            peer.say(settings({Setting.INITIAL_WINDOW_SIZE: 10}) + begins(1) + ends(1, b"x" * 99))
            while not any(f[0] == DATA for f in peer.frames):
                assert peer.read()
            peer.passes(LIMITS.stall_seconds - 1)
            assert peer.transport.server.held.size > 0
            peer.passes(2)
            assert peer.end(1)[3] == Code.CANCEL.to_bytes(4, "big")
            assert peer.transport.server.held.size == 0

    def test_a_byte_now_and_then_does_not_help(self) -> None:
        with line() as peer:
            peer.say(settings({Setting.INITIAL_WINDOW_SIZE: 10}) + begins(1) + ends(1, b"x" * 99))
            while not any(f[0] == DATA for f in peer.frames):
                assert peer.read()
            for _ in range(4):
                peer.passes(LIMITS.stall_seconds / 4)
                peer.say(window_update(1, 1))
            peer.passes(1)
            assert peer.end(1)[0] == RST_STREAM

    def test_who_reads_may_take_long(self) -> None:
        with line() as peer:
            peer.say(
                settings({Setting.INITIAL_WINDOW_SIZE: 10})
                + begins(1, of("Count"))
                + ends(1, b"1 60000")
            )
            while not any(f[0] == DATA for f in peer.frames):
                assert peer.read()
            for _ in range(3):
                peer.passes(LIMITS.stall_seconds - 1)
                peer.say(window_update(1, 20_000))
            assert peer.end(1)[0] == HEADERS

    def test_the_deadline_is_that_of_the_last_byte(self, transport: Serving) -> None:
        """By the real clock: the deadline passes, however long that takes."""
        with Peer(transport.port, acknowledges=False) as peer:
            stream = peer.begin(request("Count", ("grpc-timeout", "200m")))
            peer.send(stream, message(b"1 100000"))
            answer = peer.answer(stream)
            assert len(answer.body) == 65_535
            assert answer.status == "4"

    def test_a_unary_answer_has_its_deadline_too(self, transport: Serving) -> None:
        with Peer(transport.port, acknowledges=False) as peer:
            stream = peer.begin(request("Echo", ("grpc-timeout", "500m")))
            peer.send(stream, message(bytes(100_000)))
            answer = peer.answer(stream)
            assert (len(answer.body), answer.status) == (65_535, "4")


class TestConnections:
    """How many there may be, and for how long without a call."""

    def test_one_without_a_call_is_asked_to_end(self) -> None:
        with line() as peer:
            peer.say(begins(1) + ends(1))
            peer.end(1)
            peer.passes(LIMITS.idle_seconds - 1)
            assert not peer.count(GOAWAY)
            peer.passes(2)
            assert peer.goaway()[0] == Code.NO_ERROR

    def test_one_that_does_not_listen_is_ended(self) -> None:
        with line() as peer:
            peer.passes(LIMITS.idle_seconds + 1)
            peer.passes(LIMITS.stall_seconds + 1)
            while peer.read():
                pass

    def test_one_with_a_call_stays(self) -> None:
        with line() as peer:
            peer.say(begins(1, of("Chat")))
            peer.passes(LIMITS.idle_seconds * 5)
            assert not peer.count(GOAWAY)

    def test_the_one_that_was_idle_longest_makes_room(self) -> None:
        with line(connections=2) as peer:
            peer.clock.now += 1
            with Peer(peer.transport.port) as second, Peer(peer.transport.port) as third:
                assert peer.goaway() == (Code.NO_ERROR, "others need the connection more")
                assert second.call("Echo", b"x").messages == [b"x"]
                assert third.call("Echo", b"x").messages == [b"x"]

    def test_where_all_are_in_use_the_newest_is_sent_away(self) -> None:
        with line(connections=1) as peer:
            peer.say(begins(1, of("Chat")))
            second = Raw(peer.transport.port).say(preface=False, ends=False)
            assert second.goaway == (Code.ENHANCE_YOUR_CALM, "all of 1 connections are in use")
            peer.say(frame(DATA, 0, 1, message(b"still here")))
            while not any(f[0] == DATA for f in peer.frames):
                assert peer.read()
