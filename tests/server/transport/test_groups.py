"""Calls that came together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cascade_server.transport.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    frame,
)
from hpack import Encoder

from tests.server.transport.peer import Peer, message, request
from tests.server.transport.serving import Serving, serving


@pytest.fixture
def transport() -> Iterator[Serving]:
    """One whose turns last as long as they have to, however slow the machine is."""
    with serving(turn_seconds=60.0, reading_seconds=60.0, backlog_seconds=60.0) as found:
        yield found


class Batch:
    """Calls whose frames are sent at once."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.frames = peer, b""
        self.streams: list[int] = []

    def add(self, body: bytes, timeout: str = "", last: bool = True) -> int:
        more = (("grpc-timeout", timeout),) if timeout else ()
        stream = self.peer.h2.get_next_available_stream_id()
        self.peer.h2.send_headers(stream, request("Grouped", *more))
        self.peer.h2.send_data(stream, message(body), end_stream=last)
        self.streams.append(stream)
        return stream

    def go(self) -> None:
        self.peer.flush()


def test_calls_of_one_read_are_taken_in_one_turn(transport: Serving) -> None:
    with Peer(transport.port) as peer:
        batch = Batch(peer)
        for body in (b"a", b"no", b"later"):
            batch.add(body)
        batch.go()
        answers = [peer.answer(stream) for stream in batch.streams]
        assert [(each.messages, each.status) for each in answers] == [
            ([b"here"], "0"),
            ([], "5"),
            ([b"later"], "0"),
        ]
        assert transport.group.turns == [[b"a", b"no", b"later"]]


def test_who_may_not_wait_is_told_when_to_come_back(transport: Serving) -> None:
    transport.group.may_wait = 2
    with Peer(transport.port) as peer:
        batch = Batch(peer)
        for number in range(4):
            batch.add(b"%d" % number)
        batch.go()
        answers = [peer.answer(stream) for stream in batch.streams]
        assert [each.status for each in answers] == ["0", "0", "8", "8"]
        said = {**answers[2].headers, **answers[2].trailers}
        assert (said["grpc-message"], said["back"]) == ("full", "5")


def test_nothing_but_the_head_of_a_refused_call_is_waited_for(transport: Serving) -> None:
    """What the caller sends all the same is passed over, and the connection goes on."""
    transport.group.may_wait = 0
    with Peer(transport.port) as peer:
        stream = peer.begin(request("Grouped"))
        answer = peer.answer(stream)
        assert (answer.status, answer.details) == ("8", "full")
        assert not transport.group.turns
        peer.raw(frame(DATA, END_STREAM, stream, message(b"late")))
        transport.group.may_wait = 100
        assert peer.call("Grouped", b"next").messages == [b"here"]
    assert transport.group.turns == [[b"next"]]


def test_the_door_is_told_how_much_a_connection_asks_for(transport: Serving) -> None:
    """Calls that there would be if all connections that have any had as many."""
    with Peer(transport.port) as flood, Peer(transport.port) as other:
        for _ in range(3):  # Heads alone: these calls wait for their messages.
            flood.begin(request("Grouped"))
        flood.flush()
        flood.call("Echo", b"so that all have come")
        other.call("Grouped", b"one")
        other.call("Grouped", b"one more")
        flood.call("Grouped", b"the fourth")
    assert transport.group.crowds == [1, 2, 3, 2, 2, 4]


def test_who_has_hung_up_meanwhile_is_known_to_be_gone(transport: Serving) -> None:
    encoder = Encoder()
    with Peer(transport.port) as peer:
        frames = b""
        for stream, body in ((1, b"first"), (3, b"second"), (5, b"later")):
            frames += frame(HEADERS, END_HEADERS, stream, encoder.encode(request("Grouped")))
            frames += frame(DATA, END_STREAM, stream, message(body))
        frames += frame(RST_STREAM, 0, 3, b"\0\0\0\x08") + frame(RST_STREAM, 0, 5, b"\0\0\0\x08")
        peer.raw(frames)
        # h2 did not begin these streams.
        data = b""
        while b"here" not in data:
            data += peer.socket.recv(65_536)
    assert transport.group.turns == [[b"first", b"second", b"later"]]
    assert b"gone" not in data
    assert transport.group.hung_up == 2


def test_a_call_that_is_not_complete_is_not_taken(transport: Serving) -> None:
    with Peer(transport.port) as peer:
        batch = Batch(peer)
        open_ = batch.add(b"half", last=False)
        batch.add(b"whole")
        batch.go()
        assert peer.answer(batch.streams[1]).messages == [b"here"]
        assert transport.group.turns == [[b"whole"]]
        peer.send(open_, b"")
        assert peer.answer(open_).messages == [b"here"]
