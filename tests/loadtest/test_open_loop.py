"""Calls beyond a connection's limit, as callers that refuse and callers that wait take them."""

from __future__ import annotations

import asyncio
import struct

import numpy as np
import pytest
from cascade_loadtest.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_CONCURRENT_STREAMS,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    frame,
    literals,
)
from cascade_loadtest.open_loop import End, Outcomes, offer
from numpy.typing import NDArray

PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
NOW = np.zeros(3)


class Peer:
    """A server of one call at a time: it does with each stream what it was told.

    Args:
        most: calls that a connection may have at once.
        ways: what becomes of each stream in turn, "answer", "refuse" or "ignore"; the last goes on.
    """

    def __init__(self, most: int, *ways: str) -> None:
        self._most, self._ways = most, list(ways)
        self.timeouts: list[int] = []
        self.connections: list[asyncio.Task[None]] = []
        self.reset = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.append(task)
        await reader.readexactly(PREFACE)
        writer.write(frame(SETTINGS, 0, 0, struct.pack(">HI", MAX_CONCURRENT_STREAMS, self._most)))
        try:
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                kind, stream = head[3], int.from_bytes(head[5:9], "big")
                if kind == HEADERS:
                    start = payload.index(b"grpc-timeout") + len("grpc-timeout")
                    text = payload[start + 1 : start + 1 + payload[start]]
                    self.timeouts.append(int(text.removesuffix(b"u")))
                self.reset += kind == RST_STREAM
                if kind == DATA:
                    way = self._ways.pop(0) if len(self._ways) > 1 else self._ways[0]
                    writer.write(self._reply(way, stream))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    @staticmethod
    def _reply(way: str, stream: int) -> bytes:
        if way == "answer":
            trailers = literals({"grpc-status": "0"})
            return frame(HEADERS, END_HEADERS | END_STREAM, stream, trailers)
        if way == "refuse":
            return frame(RST_STREAM, 0, stream, struct.pack(">I", REFUSED_STREAM))
        return b""


def offered(peer: Peer, deadline: float, wait: bool, due: NDArray[np.float64] = NOW) -> Outcomes:
    async def run() -> Outcomes:
        server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
        async with server:
            target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            found = await offer(target, "/a.B/C", b"", due, deadline, connections=1, wait=wait)
            # Each ends when its client has closed.
            await asyncio.gather(*peer.connections)
            return found

    return asyncio.run(run())


def test_callers_that_refuse_do_so_at_once() -> None:
    found = offered(Peer(1, "answer"), 30.0, wait=False)
    assert sorted(found.ends) == [End.OK, End.REFUSED_HERE, End.REFUSED_HERE]
    assert found.count(End.OK) == 1
    assert found.share(End.REFUSED_HERE) == pytest.approx(2 / 3)


def test_callers_that_wait_are_answered_one_after_another() -> None:
    peer = Peer(1, "answer")
    found = offered(peer, 30.0, wait=True)
    assert list(found.ends) == [End.OK] * 3
    # Each tells what is left of its deadline when it is sent, not when it was due.
    assert peer.timeouts == sorted(peer.timeouts, reverse=True)
    assert len(found.in_time(30.0)) == 3


def test_who_waits_for_ever_gives_up_and_is_never_sent() -> None:
    peer = Peer(1, "ignore")
    found = offered(peer, 0.05, wait=True)
    assert list(found.ends) == [End.GAVE_UP] * 3
    assert len(peer.timeouts) < 3


def test_a_stream_that_is_refused_unseen_is_sent_once_more() -> None:
    peer = Peer(3, "refuse", "answer")
    assert list(offered(peer, 30.0, wait=True).ends) == [End.OK] * 3
    assert len(peer.timeouts) == 4
    never = Peer(3, "refuse")
    assert list(offered(never, 30.0, wait=True).ends) == [End.REFUSED] * 3
    assert len(never.timeouts) == 6


def test_callers_that_refuse_do_not_send_again() -> None:
    assert list(offered(Peer(3, "refuse"), 30.0, wait=False).ends) == [End.REFUSED] * 3


def test_nothing_is_due() -> None:
    found = offered(Peer(1, "answer"), 1.0, wait=True, due=np.zeros(0))
    assert (list(found.ends), found.lag) == ([], 0.0)
