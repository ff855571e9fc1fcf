"""Sends a connection's data as the peer's windows and the system's buffers have room."""

from __future__ import annotations

import asyncio
import math
import struct
from collections import deque
from collections.abc import Callable, Sequence

import grpc

from cascade_server.transport.http2.blocks import INITIAL, OK_TRAILERS
from cascade_server.transport.http2.budgets import Held
from cascade_server.transport.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    HEADERS,
    LARGEST_WINDOW,
    WINDOW,
    Broken,
    Code,
    StreamFault,
    frame,
    frame_head,
)
from cascade_server.transport.inbox import PREFIX_BYTES, Refused

# The frames around the message of a whole answer.
FIRST = struct.Struct(f">HBBBI{len(INITIAL)}sHBBBIBI")
LAST = struct.Struct(f">HBBBI{len(OK_TRAILERS)}s")
INITIAL_HEAD = (len(INITIAL) >> 8, len(INITIAL) & 0xFF, HEADERS, END_HEADERS)
TRAILERS_HEAD = (0, len(OK_TRAILERS), HEADERS, END_HEADERS | END_STREAM)
# Bytes that the peer must take, or all that is left, for an answer to count as moving.
MOVES_BYTES = 16 * 1024
# A part of an answer of at least this size is a sign of use; see `limits.Rate`.
USEFUL_BYTES = 1024
# Bytes above which frames are handed to the system separately: joining them would take longer.
SEPARATE_BYTES = 32 * 1024
# Bytes of frames after which to check whether the system accepts more.
MOST_UNFLUSHED = 128 * 1024


def nothing() -> None:
    """Do nothing: the callback of an answer whose completion nobody needs to know."""


class Outgoing:
    """The messages of one call's answer.

    Attributes:
        stream: the stream's number.
        window: bytes that the peer accepts on the stream.
        parts: parts that wait for a window.
        held: counted bytes of `parts`.
        moved: when the answer last moved, monotonic seconds, and the bytes sent since.
        sent: called once no part waits any more.
    """

    __slots__ = ("held", "moved", "moved_bytes", "parts", "sent", "stream", "window")

    def __init__(self, stream: int, window: int, sent: Callable[[], None]) -> None:
        self.stream, self.window, self.sent = stream, window, sent
        self.parts: deque[memoryview] = deque()
        self.held = self.moved_bytes = 0
        self.moved = math.inf


class Outbox:
    """The sending side of one connection.

    Attributes:
        window: bytes that the peer accepts for all calls together.
        frame_bytes: size of the largest frame that the peer accepts.
        paused_since: when the system's buffers were full, monotonic seconds; None: not full.
        use: number of sent parts of at least `USEFUL_BYTES`.

    Args:
        transport: the connection's asyncio transport.
        held: counts waiting bytes.
        clock: monotonic seconds.
    """

    def __init__(
        self, transport: asyncio.WriteTransport, held: Held, clock: Callable[[], float]
    ) -> None:
        self._transport, self._held, self._clock = transport, held, clock
        self._loop = asyncio.get_running_loop()
        self.window, self.frame_bytes = WINDOW, FRAME_BYTES
        self.paused_since: float | None = None
        self.use = 0
        self._blocked: dict[int, Outgoing] = {}
        self._out: list[bytes | memoryview] = []
        self._out_bytes = 0
        self._flush_is_due = False

    def put(self, data: bytes | memoryview) -> None:
        """Queue whole frames, to be sent with all others of this turn of the event loop."""
        self._out.append(data)
        self._out_bytes += len(data)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand all queued frames to the system at once."""
        self._flush_is_due = False
        if self._out and not self._transport.is_closing():
            if self._out_bytes < SEPARATE_BYTES:
                self._transport.write(b"".join(self._out))
            else:
                self._transport.writelines(self._out)
        self._out.clear()
        self._out_bytes = 0

    def send(self, answer: Outgoing, body: bytes) -> None:
        """Send a message, or queue it until the windows have room.

        Raises:
            Refused: too much is already waiting.
        """
        size = len(body)
        if (
            not answer.parts
            and self.paused_since is None
            and size <= self.frame_bytes
            and size <= self.window
            and size <= answer.window
        ):
            self.window -= size
            answer.window -= size
            self.put(frame(DATA, 0, answer.stream, body))
            return
        self.send_parts(answer, (memoryview(body),))

    def send_parts(self, answer: Outgoing, parts: Sequence[memoryview]) -> None:
        """Send a message that is in several places, without copying; raises as `send`."""
        size = sum(map(len, parts))
        if not self._held.take(size):
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._held.size} bytes of answers wait to be read",
            )
        if not answer.parts:
            answer.moved, answer.moved_bytes = self._clock(), 0
        answer.held += size
        answer.parts.extend(parts)
        self._blocked[answer.stream] = answer
        self.pump()

    def send_all(self, answer: Outgoing, message: bytes) -> bool:
        """Send headers, one message and trailers at once, as most answers need.

        Returns:
            False if they cannot be sent at once.
        """
        size = len(message) + PREFIX_BYTES
        if (
            size > self.window
            or size > answer.window
            or size > self.frame_bytes
            or self.paused_since is not None
        ):
            return False
        self.window -= size
        number = answer.stream
        self.put(
            FIRST.pack(
                *INITIAL_HEAD, number, INITIAL, size >> 8, size & 0xFF, DATA, 0, number, 0, size - 5
            )
            + message
            + LAST.pack(*TRAILERS_HEAD, number, OK_TRAILERS)
        )
        return True

    def forget(self, answer: Outgoing) -> None:
        """Send nothing more of an answer."""
        answer.parts.clear()
        self._blocked.pop(answer.stream, None)
        if answer.held:
            self._held.give(answer.held)
            answer.held = 0

    def stalled(self, before: float) -> list[int]:
        """Return the streams whose answers have not moved since the time `before`."""
        return [each.stream for each in self._blocked.values() if each.moved < before]

    def widen(self, answer: Outgoing | None, size: int) -> None:
        """Widen the window of one answer or, if None, of the connection.

        Raises:
            Broken, StreamFault: the window exceeds its maximum.
        """
        window = size + (self.window if answer is None else answer.window)
        if window > LARGEST_WINDOW:
            fault = Broken if answer is None else StreamFault
            raise fault(Code.FLOW_CONTROL_ERROR, f"a window of {window} bytes")
        if answer is None:
            self.window = window
        else:
            answer.window = window
        self.pump()

    def pump(self) -> None:
        """Send waiting parts, one frame of each answer in turn."""
        moved = True
        while moved and self._blocked and self.window > 0 and self.paused_since is None:
            moved = False
            for answer in list(self._blocked.values()):
                room = min(self.window, answer.window, self.frame_bytes)
                # The end of one answer may have ended another.
                if room > 0 and answer.parts:
                    moved = True
                    self._send_part(answer, room)
            if self._out_bytes >= MOST_UNFLUSHED:
                self.flush()
        self.flush()

    def _send_part(self, answer: Outgoing, room: int) -> None:
        body = answer.parts[0]
        part = body[:room]
        size = len(part)
        if size < len(body):
            answer.parts[0] = body[room:]
        else:
            answer.parts.popleft()
        self.window -= size
        answer.window -= size
        answer.held -= size
        self._held.give(size)
        self.use += size >= USEFUL_BYTES
        answer.moved_bytes += size
        if answer.moved_bytes >= MOVES_BYTES:
            answer.moved, answer.moved_bytes = self._clock(), 0
        self.put(frame_head(size, DATA, 0, answer.stream))
        self.put(part)
        if not answer.parts:
            del self._blocked[answer.stream]
            answer.sent()
