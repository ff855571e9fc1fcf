"""An open-loop load generator: gRPC calls at times set beforehand, measured from those times.

A closed loop waits for answers before it asks again, and so measures a server that is too slow at
the pace that the server sets (coordinated omission). Here calls are due at Poisson times. The
client is a few frames of HTTP/2 over asyncio rather than a gRPC library, which would need more of
the processor than the server it loads. It behaves as a channel of `Client(wait_for_turn=False)`: a
deadline travels with each call, what passes it is cancelled, and what is beyond the calls that the
server lets a connection have at once (SETTINGS_MAX_CONCURRENT_STREAMS) is refused on this side.
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

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 3, 4
CANCEL = 8
# Seconds after which the client looks for deadlines that have passed.
TICK = 0.002
LARGEST_WINDOW = 2**31 - 1


class End(StrEnum):
    """How a call ended."""

    OK = "ok"
    REFUSED_HERE = "refused_here"  # beyond the streams that the server allows
    REFUSED = "refused"  # RESOURCE_EXHAUSTED, or the stream itself
    LATE = "late"  # DEADLINE_EXCEEDED, the server's or this side's
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
        lag: the .99 quantile of how late this client was to send; what it adds to `seconds`.
    """

    ends: Sequence[End]
    seconds: NDArray[np.float64]
    lag: float

    def share(self, *which: End) -> float:
        return sum(end in which for end in self.ends) / len(self.ends)

    def in_time(self, deadline: float) -> NDArray[np.float64]:
        """Seconds of the answers that came within the deadline."""
        ok = np.array([end is End.OK for end in self.ends])
        return self.seconds[ok & (self.seconds <= deadline)]


def poisson(per_s: float, seconds: float, seed: int = 0) -> NDArray[np.float64]:
    """Times at which calls are due, from 0."""
    gaps = np.random.default_rng(seed).exponential(1 / per_s, int(1.2 * per_s * seconds) + 50)
    due = np.cumsum(gaps)
    return due[due < seconds]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literals(headers: dict[str, str]) -> bytes:
    """A header block without Huffman codes and without the dynamic table."""
    out = b""
    for name, value in headers.items():
        assert max(len(name), len(value)) < 127
        out += b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return out


class Connection(asyncio.Protocol):
    """One HTTP/2 connection, and the calls on it.

    Args:
        ended: is told the number of each call and how it ended.
    """

    def __init__(self, ended: Callable[[int, End], None]) -> None:
        self._ended = ended
        self._rest = b""
        self._calls: dict[int, int] = {}
        self._status: dict[int, End] = {}
        self._next_stream = 1
        self._most = 2**31
        self.ready = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        settings = struct.pack(">HIHI", HEADER_TABLE_SIZE, 0, INITIAL_WINDOW_SIZE, LARGEST_WINDOW)
        window = struct.pack(">I", LARGEST_WINDOW - 65_535)
        transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(SETTINGS, 0, 0, settings)
            + frame(WINDOW_UPDATE, 0, 0, window)
        )

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in list(self._calls):
            self._end(stream, End.FAILED)

    def send(self, number: int, block: bytes, body: bytes) -> int:
        """Start a call; returns its stream, 0 if it was refused here."""
        if len(self._calls) >= self._most:
            self._ended(number, End.REFUSED_HERE)
            return 0
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._calls[stream] = number
        self._transport.write(
            frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body)
        )
        return stream

    def expire(self, stream: int) -> None:
        """The deadline of a call has passed."""
        if stream in self._calls:
            self._transport.write(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))
            self._end(stream, End.LATE)

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
            self._ended(number, end)

    def close(self) -> None:
        self._transport.close()


def status_of(trailers: bytes) -> End:
    """What `grpc-status` says in a block that was made without a table."""
    at = trailers.index(b"grpc-status") + len(b"grpc-status")
    length = trailers[at]
    assert length < 128, "a Huffman code, which this client does not read"
    return ENDS.get(int(trailers[at + 1 : at + 1 + length]), End.FAILED)


async def offer(
    target: str,
    method: str,
    message: bytes,
    due: NDArray[np.float64],
    deadline: float,
    connections: int = 4,
) -> Outcomes:
    """Call `method` ("/package.Service/Method") at each of the times, over some connections.

    Args:
        target: "host:port".
        method, message: of every call.
        due: seconds from now, increasing.
        deadline: seconds that each call has from when it is due.
        connections: the calls go round them.
    """
    loop = asyncio.get_running_loop()
    host, _, port = target.rpartition(":")
    ends: list[End] = [End.FAILED] * len(due)
    at = np.full(len(due), np.nan)
    left = len(due)

    def ended(number: int, end: End) -> None:
        nonlocal left
        ends[number], at[number] = end, time.monotonic()
        left -= 1

    made = [
        (await loop.create_connection(lambda: Connection(ended), host, int(port)))[1]
        for _ in range(connections)
    ]
    for each in made:
        await each.ready
    block = literals(
        {
            ":method": "POST",
            ":scheme": "http",
            ":path": method,
            ":authority": target,
            "te": "trailers",
            "content-type": "application/grpc",
            "grpc-timeout": f"{round(1e6 * deadline)}u",
        }
    )
    body = struct.pack(">BI", 0, len(message)) + message
    began = time.monotonic() + 0.02
    times = due + began
    waiting: deque[tuple[float, Connection, int]] = deque()
    lags, number = [], 0
    while left:
        now = time.monotonic()
        while number < len(times) and times[number] <= now:
            connection = made[number % connections]
            lags.append(now - times[number])
            stream = connection.send(number, block, body)
            if stream:
                waiting.append((times[number] + deadline, connection, stream))
            number += 1
        while waiting and waiting[0][0] <= now:
            _, connection, stream = waiting.popleft()
            connection.expire(stream)
        soonest = times[number] if number < len(times) else waiting[0][0] if waiting else now
        await asyncio.sleep(min(TICK, max(0.0, soonest - time.monotonic())))
    for each in made:
        each.close()
    return Outcomes(ends, at - times, float(np.quantile(lags, 0.99)))
