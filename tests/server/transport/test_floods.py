"""Whoever says too much that means nothing is sent away, and others never notice.

Judged by what the server says and how much it keeps, not by how long it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import struct
from collections.abc import Iterator

import grpc
import pytest
from cascade_server.transport import TransportLimits
from cascade_server.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Code,
    Setting,
    frame,
    settings,
    window_update,
)

from tests.server.transport.conformance.peer import begins, call, ends, fields, of
from tests.server.transport.peer import Peer, Raw, frames_of, message, request
from tests.server.transport.serving import SERVICE, Serving, serving

CANCEL = struct.pack(">I", Code.CANCEL)
LIMITS = TransportLimits()
UNFINISHED = begins(1, of("Wait")) + frame(DATA, 0, 1, b"\0\0\0\1\0ab")
WAITING = begins(1, of("Wait"))


def one_by_one(make: bytes, times: int) -> bytes:
    """The same frames, on one stream after another."""
    out = bytearray()
    for number in range(times):
        stream = struct.pack(">I", 1 + 2 * number)
        out += make.replace(struct.pack(">I", 1), stream)
    return bytes(out)


def more_than(burst: float) -> int:
    return int(burst) + 50


FLOODS = {
    "empty DATA": UNFINISHED + frame(DATA, 0, 1) * more_than(LIMITS.empty_frames.burst),
    "DATA of padding": UNFINISHED
    + frame(DATA, PADDED, 1, b"\1\0") * more_than(LIMITS.empty_frames.burst),
    "SETTINGS": settings({}) * more_than(LIMITS.settings.burst),
    "acknowledged SETTINGS": frame(SETTINGS, ACK, 0) * more_than(LIMITS.unknown_frames.burst),
    "windows that change": (
        settings({Setting.INITIAL_WINDOW_SIZE: 1}) + settings({Setting.INITIAL_WINDOW_SIZE: 9})
    )
    * more_than(LIMITS.settings.burst),
    "PING": frame(PING, 0, 0, b"12345678") * more_than(LIMITS.pings.burst),
    "acknowledged PING": frame(PING, ACK, 0, b"12345678") * more_than(LIMITS.pings.burst),
    "PRIORITY": frame(PRIORITY, 0, 1, bytes(5)) * more_than(LIMITS.priorities.burst),
    "WINDOW_UPDATE": window_update(0, 1) * more_than(LIMITS.window_updates.burst),
    "WINDOW_UPDATE of a stream": WAITING
    + window_update(1, 1) * more_than(LIMITS.window_updates.burst),
    "unknown frames": frame(0x42, 0, 0, b"what") * more_than(LIMITS.unknown_frames.burst),
    "empty unknown frames": frame(0x42, 0, 1) * more_than(LIMITS.unknown_frames.burst),
    "GOAWAY": frame(GOAWAY, 0, 0, bytes(8)) * more_than(LIMITS.unknown_frames.burst),
    "calls taken back": one_by_one(
        WAITING + frame(RST_STREAM, 0, 1, CANCEL), more_than(LIMITS.resets.burst)
    ),
    "resets of calls that are over": call()
    + frame(RST_STREAM, 0, 1, CANCEL) * more_than(LIMITS.late_resets.burst),
    "calls that the server resets": one_by_one(
        WAITING + frame(WINDOW_UPDATE, 0, 1, bytes(4)), more_than(LIMITS.faults.burst)
    ),
    "malformed calls": one_by_one(
        begins(1, fields(without=b":path")), more_than(LIMITS.faults.burst)
    ),
    "frames of closed streams": call()
    + begins(3, of("Wait"))
    + frame(RST_STREAM, 0, 3, CANCEL)
    + frame(DATA, 0, 3, b"x") * more_than(LIMITS.faults.burst),
    "calls beyond the limit": one_by_one(WAITING, more_than(LIMITS.refused_streams.burst)),
    "CONTINUATION": frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 1, b"\0\1a\1b") * 9,
    "a block without end": frame(HEADERS, 0, 1, bytes(16_000))
    + frame(CONTINUATION, 0, 1, bytes(16_000)) * 2,
}


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(clock=lambda: 1000.0) as found:
        yield found


def say(port: int, sent: bytes) -> Raw:
    """Send, and read what comes, until the server closes."""
    found, data = Raw(port), b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(PREFACE + settings({}) + sent)
        with contextlib.suppress(ConnectionError):
            while more := connection.recv(65_536):
                data += more
    found.frames, _ = frames_of(data)
    return found


class TestFloods:
    """Time stands still, so that no bucket is filled while the server reads."""

    @pytest.mark.parametrize("sent", FLOODS.values(), ids=FLOODS.keys())
    def test_it_is_asked_to_calm_down(self, server: Serving, sent: bytes) -> None:
        found = say(server.port, sent)
        assert found.goaway is not None
        assert found.goaway[0] == Code.ENHANCE_YOUR_CALM
        with Peer(server.port) as peer:
            assert peer.call("Echo", b"others").messages == [b"others"]

    def test_who_uses_the_connection_may_say_more(self) -> None:
        """A call answered brings tokens, as it does with a peer that measures its way by PINGs."""
        with serving(clock=lambda: 1000.0) as transport, Peer(transport.port) as peer:
            for number in range(int(LIMITS.pings.burst) // 10 + 20):
                for _ in range(10):
                    peer.h2.ping(b"%08d" % number)
                for _ in range(10):
                    assert peer.call("Echo", b"x").messages == [b"x"]
            assert not peer.goaway

    def test_who_gives_up_as_the_answer_comes_may_go_on_asking(self) -> None:
        """As callers do whose deadlines are about as long as a busy server takes."""
        calls = more_than(LIMITS.late_resets.burst)
        with serving(clock=lambda: 1000.0) as transport, Peer(transport.port) as peer:
            for number in range(calls):
                assert peer.call("Echo", b"x").messages == [b"x"]
                peer.raw(frame(RST_STREAM, 0, 1 + 2 * number, CANCEL))
            assert peer.call("Echo", b"x").messages == [b"x"]
            assert not peer.goaway

    def test_who_has_waited_may_go(self) -> None:
        """A call that is taken back when half of its time has gone costs no token."""
        now = [1000.0]
        with serving(clock=lambda: now[0]) as transport, Peer(transport.port) as peer:
            for _ in range(int(LIMITS.resets.burst) + 50):
                stream = peer.begin(request("Wait", ("grpc-timeout", "1S")))
                peer.h2.ping(b"12345678")
                peer.flush()
                seen = len(peer.seen)
                peer.until(lambda seen=seen: len(peer.seen) > seen)  # type: ignore[misc]
                now[0] += 0.6
                peer.h2.reset_stream(stream)
                peer.flush()
            assert peer.call("Echo", b"x").messages == [b"x"]


class TestWhatIsKept:
    """Of what is sent, and of what it stands for."""

    def test_a_second_message_is_not_looked_at(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Echo", ("grpc-encoding", "gzip")))
            peer.send(stream, message(gzip.compress(b"x"), flag=1) + b"\1", end=False)
            answer = peer.answer(stream)
            assert (answer.status, answer.messages) == ("3", [])
            assert "more than one message" in answer.details

    def test_bombs_are_counted_and_let_go(self) -> None:
        """Each inflates to 4 MiB; two may be kept."""
        bomb = message(gzip.compress(bytes(4 << 20)), flag=1)
        with serving(held_bytes=9 << 20, inflation=2000) as transport, Peer(transport.port) as peer:
            streams = [peer.begin(request("Wait", ("grpc-encoding", "gzip"))) for _ in range(4)]
            for stream in streams:
                peer.send(stream, bomb)
            peer.until(lambda: len(peer.ended) == 2)
            assert [peer.answers[stream].status for stream in sorted(peer.ended)] == ["8", "8"]
            # Their callers have done nothing that is not allowed: it is known whose fault it is.
            full = ("/test.Service/Wait", grpc.StatusCode.RESOURCE_EXHAUSTED)
            assert transport.refused == [full] * 2
            assert transport.server.held.size == 2 * (4 << 20)
            for stream in set(streams) - peer.ended:
                peer.h2.reset_stream(stream)
            peer.flush()
            assert transport.run(settled(transport)) == 0

    def test_bombs_of_a_stream_are_inflated_one_at_a_time(self) -> None:
        bomb = message(gzip.compress(b" " * (2 << 20) + b"1"), flag=1)
        with serving(held_bytes=3 << 20, inflation=2000) as transport, Peer(transport.port) as peer:
            stream = peer.begin(request("Sum", ("grpc-encoding", "gzip")))
            peer.send(stream, bomb * 20)
            assert peer.answer(stream).messages == [b"20"]
            assert transport.run(settled(transport)) == 0

    def test_large_messages_wait_for_each_other(self) -> None:
        """There is room for one of them at a time, and all are answered."""
        body = b" " * (2 << 20) + b"7"
        with serving(held_bytes=3 << 20) as transport, Peer(transport.port) as peer:
            streams = [peer.begin(request("Sum")) for _ in range(3)]
            for stream in streams:
                peer.send(stream, message(body)[:100], end=False)
            for stream in streams:
                peer.send(stream, message(body)[100:])
                assert peer.answer(stream).messages == [b"7"]
            assert transport.run(settled(transport)) == 0

    def test_answers_that_nobody_reads_are_bounded(self) -> None:
        with (
            serving(held_bytes=1 << 20) as transport,
            Peer(transport.port, acknowledges=False) as peer,
        ):
            streams = [peer.begin(request("Count")) for _ in range(3)]
            for stream in streams:
                peer.send(stream, message(b"1 700000"))
            peer.until(lambda: len(peer.ended) == 2)
            said = [peer.answers[stream] for stream in sorted(peer.ended)]
            assert [each.status for each in said] == ["8", "8"]
            assert "wait to be read" in said[0].details
            assert transport.server.held.size <= 1 << 20
        assert transport.server.held.size == 0

    def test_a_hung_up_connection_leaves_nothing(self, transport: Serving) -> None:
        with Peer(transport.port, acknowledges=False) as peer:
            stream = peer.begin(request("Count"))
            peer.send(stream, message(b"3 700000"))
            peer.until(lambda: bool(peer.answers[stream].body))
            assert transport.server.held.size > 0
        assert transport.run(settled(transport)) == 0


async def settled(transport: Serving) -> int:
    """Bytes that are kept once nothing is under way any more."""
    for _ in range(1000):
        if not transport.server.held.size:
            break
        await asyncio.sleep(0.01)
    return transport.server.held.size


class TestTexts:
    """What a caller sends comes back to it only so far."""

    @pytest.mark.parametrize("text", ["x" * 100_000, "é" * 100_000, "%" * 9000, "\n" * 9000])
    def test_a_long_text_is_cut(self, transport: Serving, text: str) -> None:
        with grpc.insecure_channel(transport.target) as channel:
            fail = channel.unary_unary(f"/{SERVICE}/Fail")
            with pytest.raises(grpc.RpcError) as found:
                fail(text.encode())
        assert found.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = found.value.details()
        assert details.endswith("...")
        assert text.startswith(details[:-3])
        assert len(details) > 400

    def test_an_unknown_method_is_named_as_far_as_it_goes(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            answer = peer.call("x" * 9000, b"")
            assert answer.status == "12"
            assert len(answer.details) < LIMITS.status_bytes + 10
            assert peer.call("Echo", b"after").messages == [b"after"]


class TestTurns:
    """What others are owed."""

    def test_a_connection_that_sends_much_is_not_gone_through_at_once(self) -> None:
        """A turn of no time at all is one frame; a call of another connection is answered."""
        with serving(turn_seconds=0.0, backlog_seconds=0.0) as transport:
            sent = one_by_one(begins(1) + ends(), 3000)
            with socket.create_connection(("127.0.0.1", transport.port), timeout=20) as busy:
                busy.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    busy.send(PREFACE + settings({}) + sent)
                with Peer(transport.port) as peer:
                    for _ in range(20):
                        assert peer.call("Echo", b"x").messages == [b"x"]

    def test_all_that_was_sent_is_gone_through_in_the_end(self) -> None:
        with serving(turn_seconds=0.0, backlog_seconds=0.0, streams=5000) as transport:
            sent = b"".join(call(1 + 2 * number, b"%d" % number) for number in range(500))
            data, bodies = b"", []
            with socket.create_connection(("127.0.0.1", transport.port), timeout=20) as peer:
                peer.sendall(PREFACE + settings({}) + sent)
                while len(bodies) < 500:
                    data += peer.recv(65_536)
                    found, data = frames_of(data)
                    bodies += [f[3][5:] for f in found if f[0] == DATA]
        assert sorted(bodies) == sorted(b"%d" % number for number in range(500))

    def test_a_call_that_is_taken_back_before_its_turn_is_never_begun(
        self, transport: Serving
    ) -> None:
        with Peer(transport.port) as peer:
            peer.raw(begins(1, of("Wait")) + ends() + frame(RST_STREAM, 0, 1, CANCEL) + call(3))
            data = b""
            while not any(f[0] == DATA for f in frames_of(data)[0]):
                data += peer.socket.recv(65_536)
        assert not transport.service.waiting.acquire(blocking=False)
