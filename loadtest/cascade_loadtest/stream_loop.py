"""A closed loop over `SynthesizeStream`: so many requests under way on each of some streams.

As h2load does for calls: each answer is followed by the next request at once. Answers that come in
one message are followed by one message. The client is a few frames of HTTP/2, for it shares the
machine with the server: it counts answers by walking over a message's fields and reads none.
"""

from __future__ import annotations

import asyncio
import time
from typing import cast

import numpy as np
import uvloop
from numpy.typing import NDArray

from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    frame,
    grpc_headers,
    grpc_message,
    preface,
)
from cascade_loadtest.h2load import Measured

METHOD = "/cascade.v1.Synthesis/SynthesizeStream"
# Fields of `SynthesizeStreamRequest` and of `StreamedAnswer`: number << 3 | length-delimited.
REQUESTS = ANSWERS = 1 << 3 | 2
ID, REQUEST, FAILURE = 1 << 3, 2 << 3 | 2, 3 << 3 | 2


def varint(number: int) -> bytes:
    """A number as protobuf writes lengths."""
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Its value, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


class Loop:
    """What all streams share.

    Attributes:
        begun: when each request was sent, by its id.
        seconds: that each answer took.
    """

    def __init__(self, request: bytes, requests: int) -> None:
        self._request = bytes([REQUEST]) + varint(len(request)) + request
        self.begun = np.zeros(requests)
        self.seconds: list[float] = []
        self.sent, self.requests = 0, requests
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def message(self, some: int) -> bytes:
        """A gRPC message with the next requests; empty: all have been sent."""
        some = min(some, self.requests - self.sent)
        now, body = time.perf_counter(), b""
        for _ in range(some):
            self.begun[self.sent] = now
            each = bytes([ID]) + varint(self.sent) + self._request
            body += bytes([REQUESTS]) + varint(len(each)) + each
            self.sent += 1
        return grpc_message(body) if some else b""

    def answered(self, message: bytes) -> int:
        """Take a message; returns how many answers it has."""
        at, some, now = 0, 0, time.perf_counter()
        while at < len(message):
            assert message[at] == ANSWERS
            length, at = read_varint(message, at + 1)
            end = at + length
            number = 0
            if message[at] == ID:
                number, at = read_varint(message, at + 1)
            if message[at] == FAILURE:
                raise LoadFailed(f"a request failed: {message[at:end]!r}")
            self.seconds.append(now - self.begun[number])
            at, some = end, some + 1
        if len(self.seconds) == self.requests:
            self.done.set_result(None)
        return some


class Stream(asyncio.Protocol):
    """One connection with one stream on it."""

    def __init__(self, loop: Loop, target: str, under_way: int) -> None:
        self._loop, self._target, self._under_way = loop, target, under_way
        self._rest = self._message = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.write(
            preface()
            + frame(HEADERS, END_HEADERS, 1, grpc_headers(self._target, METHOD))
            + frame(DATA, 0, 1, self._loop.message(self._under_way))
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection is lost")

    def data_received(self, data: bytes) -> None:
        data, at, some = self._rest + data, 0, 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if len(data) < end:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == DATA:
                some += self._answers(data[at + 9 : end])
            elif kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
                self._fail(f"the stream has ended: {data[at + 9 : end]!r}")
            elif kind in (SETTINGS, PING) and not flags & ACK:
                payload = data[at + 9 : end] if kind == PING else b""
                self._transport.write(frame(kind, ACK, 0, payload))
            at = end
        self._rest = data[at:]
        if some and (message := self._loop.message(some)):
            self._transport.write(frame(DATA, 0, 1, message))

    def _answers(self, payload: bytes) -> int:
        self._message += payload
        some = 0
        while len(self._message) >= 5:
            end = 5 + int.from_bytes(self._message[1:5], "big")
            if len(self._message) < end:
                break
            try:
                some += self._loop.answered(self._message[5:end])
            except LoadFailed as exc:
                self._fail(str(exc))
            self._message = self._message[end:]
        return some

    def _fail(self, why: str) -> None:
        if not self._loop.done.done():
            self._loop.done.set_exception(LoadFailed(why))

    def close(self) -> None:
        self._transport.close()


def load(target: str, request: bytes, requests: int, in_flight: int, connections: int) -> Measured:
    """Send a serialised `SynthesizeRequest` so many times, `in_flight` at once over all streams.

    Raises:
        LoadFailed: a request, or a stream, failed.
    """
    host, _, port = target.rpartition(":")

    async def run() -> tuple[NDArray[np.float64], float]:
        loop, asyncio_loop = Loop(request, requests), asyncio.get_running_loop()
        began = time.perf_counter()
        made = [
            (
                await asyncio_loop.create_connection(
                    lambda: Stream(loop, target, in_flight // connections), host, int(port)
                )
            )[1]
            for _ in range(connections)
        ]
        await loop.done
        seconds = time.perf_counter() - began
        for each in made:
            each.close()
        return np.array(loop.seconds), seconds

    latencies, seconds = uvloop.run(run())
    return Measured(1e3 * latencies, requests / seconds)
