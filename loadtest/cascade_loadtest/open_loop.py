"""An open-loop load generator: gRPC calls at times set beforehand, measured from those times.

A closed loop waits for answers before it asks again, and so measures a server that is too slow at
the pace that the server sets (coordinated omission). Here calls are due at Poisson times. A
deadline travels with each, and what passes it is cancelled. What is beyond the calls that the
server lets a connection have at once (SETTINGS_MAX_CONCURRENT_STREAMS) does what its callers do:

- callers that refuse, as a channel of `Client(wait_for_turn=False)`: it ends at once, on this side;
- callers that wait, as gRPC's channels do by default: it waits on this side, first come first
  served, until its turn or its deadline; what the server has left of the deadline is told when it
  is sent, and a stream that the server refuses unseen (REFUSED_STREAM) is sent once more.

The client is a few frames of HTTP/2 over asyncio rather than a gRPC library, which would need more
of the processor than the server it loads: grpcio in Python offers some 4,000 calls a second with a
core to itself, and three times a worker's capacity is 20,000.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import numpy as np
from numpy.typing import NDArray

from cascade_loadtest.frames import (
    ACK,
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_CONCURRENT_STREAMS,
    PING,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    frame,
    grpc_headers,
    grpc_message,
    grpc_timeout,
    literals,
    preface,
)

# Seconds after which the client looks for deadlines that have passed.
TICK = 0.002


class End(StrEnum):
    """How a call ended."""

    OK = "ok"
    REFUSED_HERE = "refused_here"  # beyond the streams that the server allows
    REFUSED = "refused"  # RESOURCE_EXHAUSTED, or the stream itself
    LATE = "late"  # DEADLINE_EXCEEDED, as the server said
    GAVE_UP = "gave_up"  # the deadline passed on this side
    FAILED = "failed"


# By grpc-status. CANCELLED is what gRPC itself says of a call whose deadline passed before the
# server took it.
ENDS = {0: End.OK, 1: End.LATE, 4: End.LATE, 8: End.REFUSED}


@dataclass(frozen=True)
class Outcomes:
    """Of the calls of a run, in the order they were due.

    Attributes:
        ends: how each ended.
        seconds: from when each was due to its end.
        lag: the .99 quantile of how late this client was to take a call up, seconds; what it adds
            to `seconds`. Where it is more than a few milliseconds the client is what was measured.
        cpu: processor seconds that this client took.
    """

    ends: Sequence[End]
    seconds: NDArray[np.float64]
    lag: float
    cpu: float = 0.0

    def count(self, *which: End) -> int:
        """Calls that ended in one of these ways."""
        return sum(end in which for end in self.ends)

    def share(self, *which: End) -> float:
        """The share of them."""
        return self.count(*which) / len(self.ends)

    def in_time(self, deadline: float) -> NDArray[np.float64]:
        """Seconds of the answers that came within the deadline."""
        ok = np.array([end is End.OK for end in self.ends])
        return self.seconds[ok & (self.seconds <= deadline)]


def poisson(per_s: float, seconds: float, seed: int = 0) -> NDArray[np.float64]:
    """Times at which calls are due, from 0."""
    gaps = np.random.default_rng(seed).exponential(1 / per_s, int(1.2 * per_s * seconds) + 50)
    due = np.cumsum(gaps)
    return due[due < seconds]


class Connection(asyncio.Protocol):
    """One HTTP/2 connection, and the calls on it.

    Args:
        ended: is told the number of each call and how it ended.
        refused_unseen: is asked first about a call whose stream the server refused before it
            looked at it (REFUSED_STREAM); True: it is sent again, and has not ended.
    """

    def __init__(
        self,
        ended: Callable[[int, End], None],
        refused_unseen: Callable[[int], bool] = lambda number: False,
    ) -> None:
        self._ended, self._refused_unseen = ended, refused_unseen
        self._rest = b""
        self._calls: dict[int, int] = {}
        self._streams: dict[int, int] = {}
        self._next_stream = 1
        self._most = 2**31
        self.ready = asyncio.get_running_loop().create_future()

    @property
    def full(self) -> bool:
        """Whether the server allows no further call now."""
        return len(self._calls) >= self._most

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.write(preface())

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in list(self._calls):
            self._end(stream, End.FAILED)

    def send(self, number: int, block: bytes, body: bytes) -> None:
        """Start a call; it ends at once, REFUSED_HERE, where the connection is full."""
        if self.full:
            self._ended(number, End.REFUSED_HERE)
            return
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._calls[stream], self._streams[number] = number, stream
        self._transport.write(
            frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body)
        )

    def expire(self, number: int) -> None:
        """The deadline of a call has passed: cancel it, if it is under way."""
        if stream := self._streams.get(number):
            self._transport.write(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))
            self._end(stream, End.GAVE_UP)

    def data_received(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + length:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            self._received(kind, flags, stream, data[at + 9 : at + 9 + length])
            at += 9 + length
        self._rest = data[at:]

    def _received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == HEADERS and flags & END_STREAM:
            self._end(stream, status_of(payload))
        elif kind == RST_STREAM:
            unseen = int.from_bytes(payload, "big") == REFUSED_STREAM
            number = self._calls.get(stream)
            if unseen and number is not None and self._refused_unseen(number):
                del self._calls[stream], self._streams[number]
            else:
                self._end(stream, End.REFUSED)
        elif kind == SETTINGS and not flags & ACK:
            for setting, value in struct.iter_unpack(">HI", payload):
                if setting == MAX_CONCURRENT_STREAMS:
                    self._most = value
            self._transport.write(frame(SETTINGS, ACK, 0))
            if not self.ready.done():
                self.ready.set_result(None)
        elif kind == PING and not flags & ACK:
            self._transport.write(frame(PING, ACK, 0, payload))

    def _end(self, stream: int, end: End) -> None:
        number = self._calls.pop(stream, None)
        if number is not None:
            del self._streams[number]
            self._ended(number, end)

    def close(self) -> None:
        """Close it; calls under way have failed."""
        self._transport.close()


def status_of(trailers: bytes) -> End:
    """What `grpc-status` says in a block that was made without a table."""
    start = trailers.index(b"grpc-status") + len(b"grpc-status")
    length = trailers[start]
    assert length < 128, "a Huffman code, which this client does not read"
    return ENDS.get(int(trailers[start + 1 : start + 1 + length]), End.FAILED)


class _Run:
    """The calls of a run: when each is due, and how it ended."""

    def __init__(self, head: bytes, body: bytes, calls: int, deadline: float) -> None:
        self.body, self.left = body, calls
        self._head, self._deadline = head, deadline
        self.times: list[float] = []
        self.ends: list[End | None] = [None] * calls
        self.ended_at = [float("nan")] * calls

    def block(self, number: int) -> bytes:
        """The header block of a call, with what is left of its deadline."""
        left = self.expiry(number) - time.monotonic()
        return self._head + literals({"grpc-timeout": grpc_timeout(left)})

    def expiry(self, number: int) -> float:
        """When a call's deadline passes, on the monotonic clock."""
        return self.times[number] + self._deadline

    def is_over(self, number: int) -> bool:
        """Whether a call has ended."""
        return self.ends[number] is not None

    def ended(self, number: int, end: End) -> None:
        """A call has ended."""
        self.ends[number], self.ended_at[number] = end, time.monotonic()
        self.left -= 1


class _Caller:
    """Callers on one connection that are due at their times, and refuse or wait when it is full."""

    def __init__(self, run: _Run, wait: bool) -> None:
        self._run, self._wait = run, wait
        self._waiting: deque[int] = deque()
        self._sent_again: set[int] = set()
        self.connection = Connection(self._ended, self._refused_unseen)

    def take(self, number: int) -> None:
        """A call is due."""
        if self._wait and (self._waiting or self.connection.full):
            self._waiting.append(number)
        else:
            self._send(number)

    def expire(self, number: int) -> None:
        """The deadline of a call has passed."""
        self.connection.expire(number)
        if not self._run.is_over(number):
            # It waits here; its number is passed over when its turn comes.
            self._run.ended(number, End.GAVE_UP)

    def _send(self, number: int) -> None:
        self.connection.send(number, self._run.block(number), self._run.body)

    def _ended(self, number: int, end: End) -> None:
        self._run.ended(number, end)
        self._next()

    def _refused_unseen(self, number: int) -> bool:
        if not self._wait or number in self._sent_again:
            return False
        self._sent_again.add(number)
        self._waiting.appendleft(number)
        asyncio.get_running_loop().call_soon(self._next)
        return True

    def _next(self) -> None:
        while self._waiting and not self.connection.full:
            number = self._waiting.popleft()
            if self._run.is_over(number):
                continue
            if self._run.expiry(number) <= time.monotonic():
                self._run.ended(number, End.GAVE_UP)
            else:
                self._send(number)


async def offer(
    target: str,
    method: str,
    message: bytes,
    due: NDArray[np.float64],
    deadline: float,
    connections: int = 4,
    wait: bool = False,
) -> Outcomes:
    """Call `method` ("/package.Service/Method") at each of the times, over some connections.

    Args:
        target: "host:port".
        method, message: of every call.
        due: seconds from now, increasing.
        deadline: seconds that each call has from when it is due.
        connections: the calls go round them.
        wait: whether calls beyond those that the server allows wait for their turn; False: they
            are refused on this side.
    """
    loop = asyncio.get_running_loop()
    host, _, port = target.rpartition(":")
    run = _Run(grpc_headers(target, method), grpc_message(message), len(due), deadline)
    callers = [_Caller(run, wait) for _ in range(connections)]
    for caller in callers:
        await loop.create_connection(lambda c=caller: c.connection, host, int(port))  # type: ignore[misc]
    for caller in callers:
        await caller.connection.ready
    run.times = (due + time.monotonic() + 0.02).tolist()
    lags, taken, expired = [], 0, 0
    cpu = time.process_time()
    while run.left:
        now = time.monotonic()
        while taken < len(due) and run.times[taken] <= now:
            lags.append(time.monotonic() - run.times[taken])
            callers[taken % connections].take(taken)
            taken += 1
        while expired < taken and (run.is_over(expired) or run.expiry(expired) <= now):
            if not run.is_over(expired):
                callers[expired % connections].expire(expired)
            expired += 1
        soonest = run.times[taken] if taken < len(due) else now + TICK
        await asyncio.sleep(min(TICK, max(0.0, soonest - time.monotonic())))
    for caller in callers:
        caller.connection.close()
    ends = [end or End.FAILED for end in run.ends]
    lag = float(np.quantile(lags, 0.99)) if lags else 0.0
    seconds = np.array(run.ended_at) - np.array(run.times)
    return Outcomes(ends, seconds, lag, time.process_time() - cpu)
