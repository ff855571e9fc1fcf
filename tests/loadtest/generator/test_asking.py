"""What the generator makes of servers that answer, are slow, refuse, hang up or let nobody in."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from cascade_loadtest.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_CONCURRENT_STREAMS,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    grpc_message,
    grpc_timeout,
    literals,
)
from cascade_loadtest.generator import connection
from cascade_loadtest.generator.asking import LATE_HERE, NO_STREAM, Asking, closed_loop
from cascade_loadtest.generator.connection import address_of
from cascade_loadtest.generator.plan import Plan
from cascade_loadtest.generator.tally import Tally
from cascade_proto import synthesis_pb2 as pb

PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
# Longer than anything takes.
EVER = 60.0


def answer(**provenance: object) -> bytes:
    return pb.SynthesizeResponse(provenance=pb.Provenance(**provenance)).SerializeToString()  # type: ignore[arg-type]


class Peer:
    """A server that does with each stream in turn what it was told; the last goes on.

    Args:
        ways: "ignore", "hang up", the number of a gRPC status, or the bytes of an answer.
        most: calls that a connection may have at once.
    """

    def __init__(self, *ways: str | int | bytes, most: int = 100) -> None:
        self._ways, self._most = list(ways), most
        self.timeouts: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.connections = self.read_updates = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        self.connections += 1
        try:
            await reader.readexactly(PREFACE)
            writer.write(
                frame(SETTINGS, 0, 0, struct.pack(">HI", MAX_CONCURRENT_STREAMS, self._most))
            )
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                kind, stream = head[3], int.from_bytes(head[5:9], "big")
                if kind == HEADERS:
                    start = payload.index(b"grpc-timeout") + len("grpc-timeout")
                    text = payload[start + 1 : start + 1 + payload[start]]
                    self.timeouts.append(int(text[:-1]))
                self.read_updates += kind == WINDOW_UPDATE and self.connections > 0
                if kind == DATA:
                    way = self._ways.pop(0) if len(self._ways) > 1 else self._ways[0]
                    if way == "hang up":
                        writer.close()
                        return
                    writer.write(self._reply(way, stream))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """HOST:PORT of it; whoever asked has closed all connections by the end."""
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            if self.tasks:
                await asyncio.wait(self.tasks, timeout=EVER)

    @staticmethod
    def _reply(way: str | int | bytes, stream: int) -> bytes:
        if isinstance(way, int):
            end = literals({"grpc-status": str(way)})
            return frame(HEADERS, END_HEADERS | END_STREAM, stream, end)
        if isinstance(way, bytes):
            message = grpc_message(way)
            half = len(message) // 2
            return (
                frame(HEADERS, END_HEADERS, stream, literals({":status": "200"}))
                + frame(DATA, 0, stream, message[:half])
                + frame(DATA, 0, stream, message[half:])
                + frame(HEADERS, END_HEADERS | END_STREAM, stream, literals({"grpc-status": "0"}))
            )
        return frame(RST_STREAM, 0, stream, struct.pack(">I", 7)) if way == "reset" else b""


def plan(target: str, due: Sequence[float], deadline: float = EVER, **more: int | float) -> Plan:
    calls = len(due)
    return Plan(
        target,
        ["one", "two"],
        [b"abc", b"d"],
        np.array(due, np.float64),
        np.arange(calls, dtype=np.uint32) % 2,
        (np.arange(calls) % 2).astype(np.uint8),
        np.full(calls, deadline),
        1.0,
        int(more.pop("connections", 1)),
        window=float(more.pop("window", 1.0)),
        in_flight=int(more.pop("in_flight", 0)),
    )


async def asked(
    peer: Peer, due: Sequence[float], deadline: float = EVER, ago: float = 0.0, connections: int = 1
) -> Tally:
    """Ask a peer; the beginning is so many seconds ago."""
    async with peer.serving() as target:
        asking = Asking(plan(target, due, deadline, connections=connections))
        await asking.connect()
        return await asking.run(time.monotonic() - ago)


async def test_answers_are_counted_by_kind_and_source() -> None:
    peer = Peer(
        answer(tier=pb.TIER_STUDENT),
        answer(tier=pb.TIER_TEACHER),
        answer(tier=pb.TIER_TEACHER, from_pool=True),
        answer(tier=pb.TIER_STUDENT, cached=True),
    )
    found = await asked(peer, [0.0, 0.0, 0.0, 0.0])
    assert found.calls["one"].tiers == {"student": 1, "pool": 1}
    assert found.calls["two"].tiers == {"teacher": 1, "cache": 1}
    assert [each.count for each in found.calls.values()] == [2, 2]
    (window,) = found.windows
    assert (window.due, window.sent, window.failures) == (4, 4, 0)
    assert window.latencies.count == found.lag.count == 4
    assert not found.dropped


async def test_latency_is_from_when_calls_are_due() -> None:
    """The generator begins a second late: so do all calls, as their callers see it."""
    found = await asked(Peer(answer()), [0.0, 0.0], ago=1.0)
    calls = found.calls["one"]
    assert calls.due.quantile(1.0) >= 1.0
    assert calls.sent.quantile(1.0) < calls.due.quantile(1.0)
    assert found.lag.quantile(0.01) >= 0.999


async def test_the_deadline_that_is_left_is_told() -> None:
    peer = Peer(answer())
    await asked(peer, [0.0], deadline=30.0, ago=10.0)
    assert 0 < peer.timeouts[0] <= 20e6


async def test_failures_are_counted_by_code() -> None:
    found = await asked(Peer(8, 14, 4, 13, "reset"), [0.0] * 5)
    codes = found.calls["one"].failures + found.calls["two"].failures
    assert codes == {
        "RESOURCE_EXHAUSTED": 1,
        "UNAVAILABLE": 2,
        "DEADLINE_EXCEEDED": 1,
        "INTERNAL": 1,
    }
    assert found.windows[0].failures == 5


async def test_what_is_not_answered_is_given_up_at_its_deadline() -> None:
    found = await asked(Peer("ignore"), [0.0, 0.01], deadline=0.05)
    assert found.calls["one"].failures == {"DEADLINE_EXCEEDED": 1}
    assert found.calls["two"].failures == {"DEADLINE_EXCEEDED": 1}
    assert not found.dropped


async def test_a_call_that_the_generator_is_too_late_for_is_dropped() -> None:
    found = await asked(Peer(answer()), [0.0, 5.0], deadline=1.0, ago=5.0)
    assert found.dropped == {LATE_HERE: 1}
    assert found.calls["one"].failures == {f"never sent: {LATE_HERE}": 1}
    assert found.calls["two"].answered == 1
    assert [each.sent for each in found.windows] == [0, 0, 0, 0, 0, 1]


async def test_a_call_that_no_stream_is_free_for_is_dropped_at_its_deadline() -> None:
    found = await asked(Peer("ignore", most=1), [0.0, 0.0], deadline=0.05)
    assert found.calls["one"].failures == {"DEADLINE_EXCEEDED": 1}
    assert found.dropped == {NO_STREAM: 1}


async def test_calls_beyond_the_limit_wait_for_their_turn() -> None:
    found = await asked(Peer(answer(), most=1), [0.0] * 7, connections=2)
    assert sum(each.answered for each in found.calls.values()) == 7


async def test_a_lost_connection_is_made_anew() -> None:
    peer = Peer("hang up", answer())
    found = await asked(peer, [0.0, 0.3], deadline=EVER)
    assert found.calls["one"].failures == {"UNAVAILABLE": 1}
    assert found.calls["two"].answered == 1
    assert peer.connections == 2


async def test_the_server_is_told_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection's window is 2^31 bytes: an hour of answers is more."""
    monkeypatch.setattr(connection, "READ_BYTES", 10)
    peer = Peer(answer(table="x" * 50))
    await asked(peer, [0.0, 0.0, 0.1])
    assert peer.read_updates > 1  # one is in the preface


async def test_no_calls_end_at_once() -> None:
    found = await asked(Peer(answer()), [])
    assert found.calls["one"].count == 0


async def test_a_closed_loop_counts_answers_and_refusals() -> None:
    peer = Peer(8, answer())
    async with peer.serving() as target:
        of = Plan(**{**vars(plan(target, [0.0, 0.0], in_flight=3)), "seconds": 0.2})
        per_s, refused, cpu = await closed_loop(of)
    assert per_s > 0
    assert 0 <= refused < 1
    assert cpu > 0


async def test_a_closed_loop_that_loses_its_connection_has_measured_nothing() -> None:
    peer = Peer(answer(), answer(), "hang up")
    async with peer.serving() as target:
        of = Plan(**{**vars(plan(target, [0.0, 0.0], in_flight=1)), "seconds": 30.0})
        with pytest.raises(RuntimeError, match=r"the connection was lost after"):
            await closed_loop(of)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0000001, "1u"), (0.05, "50000u"), (99.9999994, "99999999u"), (100.0, "100000m"),
     (86_400.0, "86400000m"), (1e6, "1000000S"), (1e300, "99999999S")],
)  # fmt: skip
def test_a_deadline_has_eight_digits_at_most(seconds: float, text: str) -> None:
    """More are no `grpc-timeout` (gRPC over HTTP/2, Requests), and a call with them is refused."""
    assert grpc_timeout(seconds) == text


@pytest.mark.parametrize(
    ("target", "address"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80))]
)
def test_addresses(target: str, address: tuple[str, int]) -> None:
    assert address_of(target) == address


async def test_a_closed_loop_that_is_never_answered_says_so() -> None:
    peer = Peer(8)
    async with peer.serving() as target:
        of = Plan(**{**vars(plan(target, [0.0, 0.0], in_flight=1)), "seconds": 0.1})
        with pytest.raises(RuntimeError, match=r"no call was answered.*RESOURCE_EXHAUSTED"):
            await closed_loop(of)
