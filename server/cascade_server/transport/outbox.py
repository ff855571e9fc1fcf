"""What a connection sends: as the peer's windows and the system's buffers have room for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from cascade_server.transport.frames import (
    DATA,
    FRAME_BYTES,
    LARGEST_WINDOW,
    WINDOW,
    Broken,
    Code,
    frame,
    frame_head,
)


class Outgoing:
    """The messages of one call's answer.

    Attributes:
        stream: its number.
        window: bytes that the peer takes of it.
        parts: that wait for a window.
        sent: is called once none waits any more.
    """

    __slots__ = ("parts", "sent", "stream", "window")

    def __init__(self, stream: int, window: int, sent: Callable[[], None]) -> None:
        self.stream, self.window, self.sent = stream, window, sent
        self.parts: deque[memoryview] = deque()


class Outbox:
    """Of one connection.

    Attributes:
        window: bytes that the peer takes, of all calls together.
        frame_bytes: of the largest frame that it takes.
        paused: whether the system has enough to send.

    Args:
        transport: the connection.
    """

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self.window, self.frame_bytes = WINDOW, FRAME_BYTES
        self.paused = False
        self._blocked: dict[int, Outgoing] = {}
        self._out: list[bytes | memoryview] = []
        self._flush_is_due = False

    def put(self, data: bytes | memoryview) -> None:
        """Send whole frames, together with all else that is put in this turn of the event loop."""
        self._out.append(data)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand what has been put to the system, in one go."""
        self._flush_is_due = False
        if self._out and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def send(self, to: Outgoing, body: bytes) -> None:
        """Send a message, or have it wait for its turn."""
        size = len(body)
        free = not to.parts and not self.paused
        if free and size <= self.frame_bytes and size <= self.window and size <= to.window:
            self.window -= size
            to.window -= size
            self.put(frame(DATA, 0, to.stream, body))
            return
        to.parts.append(memoryview(body))
        self._blocked[to.stream] = to
        self.pump()

    def forget(self, to: Outgoing) -> None:
        """Send nothing more of an answer."""
        to.parts.clear()
        self._blocked.pop(to.stream, None)

    def widen(self, to: Outgoing | None, by: int) -> None:
        """The peer takes more, of one answer or (None) of all together.

        Raises:
            Broken: it says so in a way that is not allowed.
        """
        window = by + (self.window if to is None else to.window)
        if by == 0:
            raise Broken(Code.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        if window > LARGEST_WINDOW:
            raise Broken(Code.FLOW_CONTROL_ERROR, f"a window of {window} bytes")
        if to is None:
            self.window = window
        else:
            to.window = window
        self.pump()

    def pump(self) -> None:
        """Send what waits, a frame of each answer in turn."""
        moved = True
        while moved and self._blocked and self.window > 0 and not self.paused:
            moved = False
            for to in list(self._blocked.values()):
                room = min(self.window, to.window, self.frame_bytes)
                if room > 0:
                    moved = True
                    self._send_part(to, room)
            self.flush()

    def _send_part(self, to: Outgoing, room: int) -> None:
        body = to.parts[0]
        part = body[:room]
        if len(part) < len(body):
            to.parts[0] = body[room:]
        else:
            to.parts.popleft()
        self.window -= len(part)
        to.window -= len(part)
        self.put(frame_head(len(part), DATA, 0, to.stream))
        self.put(part)
        if not to.parts:
            del self._blocked[to.stream]
            to.sent()
