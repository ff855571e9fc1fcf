"""Who has shown nobody keeps nobody out: not by watching, not by coming often, not by what it
sends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest
from cascade_server.transport import TransportLimits, TransportServer
from cascade_server.transport.connection import Connection
from cascade_server.transport.http2.frames import Code
from cascade_server.transport.outcomes import Status
from cascade_server.transport.peer import Peer as Caller
from cascade_server.transport.strangers import FEWEST, OPEN_CALLS, SHARE, source_of

from tests.server.transport.peer import Peer, Raw, message, request
from tests.server.transport.serving import SERVICE, Serving, serving
from tests.server.transport.test_patience import Clock

KEY = ("authorization", "good")
# Of the test's service: `Wait` is as a watch, which has no end, `Peer` as a check.
OPEN = (f"/{SERVICE}/Wait", f"/{SERVICE}/Peer")
RESOURCE_EXHAUSTED, UNAUTHENTICATED = "8", "16"


class Gate:
    """Lets in who has the key; a `Door`."""

    def knows(self, headers: Sequence[tuple[bytes, bytes]], peer: Caller) -> bool:
        return (KEY[0].encode(), KEY[1].encode()) in headers

    def refuses(
        self, path: str, headers: Sequence[tuple[bytes, bytes]], peer: Caller
    ) -> Status | None:
        if path in OPEN or self.knows(headers, peer):
            return None
        return Status(grpc.StatusCode.UNAUTHENTICATED, "who are you?")

    def gone(self, peer: Caller) -> None:
        """Nothing is kept."""


@contextmanager
def asking(**limits: Any) -> Iterator[Serving]:
    """A server that asks callers who they are."""
    with serving(door=Gate(), open_to_all=OPEN, **{"streams": 100, **limits}) as found:
        yield found


def watches(transport: Serving, peer: Peer, *more: tuple[str, str]) -> int:
    """Have a peer watch; returns once it does."""
    stream = peer.begin(request("Wait", *more))
    peer.send(stream, message(b"a watch"))
    assert transport.service.waiting.acquire(timeout=20)
    return stream


def is_known(peer: Peer) -> bool:
    return peer.call("Echo", b"x", KEY).messages == [b"x"]


def has_left(peer: Peer) -> bool:
    """Whether a peer was asked to leave, and was waited for no longer; waits for it."""
    # What it says meanwhile meets a closed door, and may have the system drop what it was told.
    with contextlib.suppress(ConnectionError):
        peer.until(lambda: peer.closed)
    return peer.goaway in ([], [Code.NO_ERROR])


class TestRoom:
    """Of the connections that there may be."""

    def test_watches_of_strangers_keep_nobody_out(self) -> None:
        with asking(connections=3) as transport, ExitStack() as stack:
            strangers = [stack.enter_context(Peer(transport.port)) for _ in range(3)]
            for each in strangers:
                watches(transport, each)
            with Peer(transport.port) as first, Peer(transport.port) as second:
                assert is_known(first)
                assert is_known(second)
                assert has_left(strangers[0])
                assert has_left(strangers[1])
            # Who was not in the way is still there.
            assert strangers[2].call("Peer", b"").status == "0"
        assert len(transport.service.cancelled) == 3

    def test_who_is_known_keeps_its_place(self) -> None:
        """Though it does no more than others do, or nothing at all."""
        with asking(connections=3) as transport, ExitStack() as stack:
            idle, watcher, stranger = (stack.enter_context(Peer(transport.port)) for _ in range(3))
            assert is_known(idle)
            watches(transport, watcher, KEY)
            watches(transport, stranger)
            for _ in range(3):
                other = stack.enter_context(Peer(transport.port))
                assert other.call("Peer", b"").status == "0"
            assert has_left(stranger)
            assert is_known(idle)
            assert watcher.call("Peer", b"").status == "0"

    def test_where_all_are_known_and_in_use_the_newest_is_sent_away(self) -> None:
        with asking(connections=1) as transport, Peer(transport.port) as first:
            watches(transport, first, KEY)
            second = Raw(transport.port).say(preface=False, ends=False)
            assert second.goaway == (Code.ENHANCE_YOUR_CALM, "all of 1 connections are in use")

    def test_from_one_address_there_are_only_so_many(self) -> None:
        share = 2 * FEWEST
        with asking(connections=share * SHARE) as transport, ExitStack() as stack:
            known = stack.enter_context(Peer(transport.port))
            assert is_known(known)
            first = stack.enter_context(Peer(transport.port))
            watches(transport, first)
            others = [stack.enter_context(Peer(transport.port)) for _ in range(share)]
            assert has_left(first)
            for each in (known, others[0], others[-1]):
                assert each.call("Peer", b"").status == "0"

    def test_without_a_door_nobody_is_a_stranger(self) -> None:
        with serving(connections=1, open_to_all=OPEN) as transport, Peer(transport.port) as first:
            watches(transport, first)
            second = Raw(transport.port).say(preface=False, ends=False)
            assert second.goaway == (Code.ENHANCE_YOUR_CALM, "all of 1 connections are in use")


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("10.0.0.7", "10.0.0.7", True),
        ("10.0.0.7", "10.0.0.8", False),
        ("::ffff:10.0.0.7", "10.0.0.7", True),
        ("::ffff:10.0.0.7", "::ffff:10.0.0.8", False),
        ("2001:db8:1:2::7", "2001:db8:1:2:ffff::1", True),
        ("2001:db8:1:2::7", "2001:db8:1:3::7", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
    ],
)
def test_who_has_many_addresses_of_a_network_comes_from_one_place(
    one: str, other: str, is_same: bool
) -> None:
    assert (source_of(one) == source_of(other)) is is_same


class TestCalls:
    """What one connection may ask without saying who asks."""

    def test_only_so_many_at_once(self) -> None:
        with asking() as transport, Peer(transport.port) as peer:
            for _ in range(OPEN_CALLS):
                watches(transport, peer)
            answer = peer.call("Wait", b"one more")
            assert answer.status == RESOURCE_EXHAUSTED
            assert f"{OPEN_CALLS} calls at once" in answer.details
            # What says who asks is asked beside them, as behind a proxy.
            assert is_known(peer)
            assert peer.call("Peer", b"").status == RESOURCE_EXHAUSTED

    @pytest.mark.parametrize("has_door", [False, True])
    def test_what_anybody_may_ask_is_said_in_few_bytes(self, has_door: bool) -> None:
        """So nothing of the room for large messages is theirs."""
        door = Gate() if has_door else None
        most = TransportLimits().open_message_bytes
        with serving(door=door, open_to_all=OPEN) as transport, Peer(transport.port) as peer:
            stream = peer.begin(request("Peer"))
            peer.send(stream, message(bytes(4 << 20))[:9], end=False)
            answer = peer.answer(stream)
            assert answer.status == RESOURCE_EXHAUSTED
            assert f"{4 << 20} vs. {most}" in answer.details
            assert transport.server.held.size == 0
            assert peer.call("Peer", bytes(most)).status == "0"
            assert peer.call("Echo", bytes(9 * most), KEY).messages == [bytes(9 * most)]

    def test_they_are_no_crowd(self) -> None:
        """Who asks for little is not kept out by who watches in great number."""
        with asking() as transport, ExitStack() as stack:
            for _ in range(5):
                watches(transport, stack.enter_context(Peer(transport.port)))
            peer = stack.enter_context(Peer(transport.port))
            watches(transport, peer)
            peer.call("Grouped", b"one", KEY)
            peer.call("Grouped", b"one more", KEY)
            with Peer(transport.port) as other:
                other.call("Grouped", b"another", KEY)
        # Of `peer` with its watch, and then of both that are known.
        assert transport.group.crowds == [2, 2, 2]
        assert transport.server.busy == 0

    def test_who_shows_nobody_is_refused_as_ever(self) -> None:
        with asking() as transport, Peer(transport.port) as peer:
            assert peer.call("Echo", b"x").status == UNAUTHENTICATED
            assert peer.call("Peer", b"").status == "0"


class Stuck(asyncio.Transport):
    """To a peer that takes nothing: what was written waits."""

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = False
        self._socket = socket.socket()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"socket": self._socket, "peername": ("10.0.0.7", 1)}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """They are of no use."""

    def write(self, data: Any) -> None:
        """It waits."""

    def writelines(self, list_of_data: Any) -> None:
        """Likewise."""

    def is_closing(self) -> bool:
        return self.is_aborted

    def close(self) -> None:
        """Waits until all is sent."""

    def abort(self) -> None:
        self.is_aborted = True
        self._socket.close()


async def test_who_takes_no_farewell_is_not_waited_for() -> None:
    """A connection that has had to leave would else be one more than there may be."""
    clock, limits = Clock(), TransportLimits(connections=1)
    server = TransportServer({}, limits, clock=clock)
    await server.start("127.0.0.1", 0, False)
    transports = [Stuck(), Stuck()]
    connections = [Connection(server, stays=True, clock=clock) for _ in transports]
    for connection, transport in zip(connections, transports, strict=True):
        connection.connection_made(transport)
    connections[1].close()
    clock.now += limits.stall_seconds - 1
    server.check()
    assert [each.is_aborted for each in transports] == [False, False]
    clock.now += 2
    server.check()
    assert [each.is_aborted for each in transports] == [True, True]
    for connection in connections:
        connection.connection_lost(None)
    await server.stop(0)
