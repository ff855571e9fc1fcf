"""A connection of the generator: like `open_loop`'s, but it reads answers and reports why calls
fail.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from grpc import StatusCode

from cascade_loadtest.frames import (
    DATA,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    WINDOW_UPDATE,
    frame,
)
from cascade_loadtest.open_loop import Connection, End

# Bytes of answers after which the flow-control window, of 2^31 bytes, is replenished.
READ_BYTES = 2**28
CODES = {code.value[0]: code.name for code in StatusCode}
# Codes of a call that was reset, that never had a connection, and that was given up here.
RESET, LOST, GAVE_UP = "UNAVAILABLE", "UNAVAILABLE", "DEADLINE_EXCEEDED"
OK = "OK"
Ended = Callable[[int, str, bytes], None]


class Answers(Connection):
    """One HTTP/2 connection, and the calls on it.

    Args:
        answered: is told the number of each call, the name of the code that it ended with, and
            its message, serialised; empty where there is none.
        lost: is told when the connection is, after all of its calls.
    """

    def __init__(self, answered: Ended, lost: Callable[[], None]) -> None:
        super().__init__(self._gave_up_or_failed)
        self._answered, self._lost = answered, lost
        self._messages: dict[int, bytes] = {}
        self._read = 0
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.is_open = True
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        super().connection_lost(exc)
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the connection is lost"))
            self.ready.exception()  # who has not waited for it need not be told
        self._lost()

    @property
    def full(self) -> bool:
        """Whether no further call may be sent now."""
        return not self.is_open or super().full

    @property
    def under_way(self) -> int:
        """Number of calls that have been sent and have not ended."""
        return len(self._calls)

    def _received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._count(len(payload))
            if stream in self._calls:
                self._messages[stream] = self._messages.get(stream, b"") + payload
        elif kind == HEADERS and flags & END_STREAM:
            self._end_with(stream, code_of(payload))
        elif kind == RST_STREAM:
            self._end_with(stream, RESET)
        else:
            super()._received(kind, flags, stream, payload)

    def _count(self, octets: int) -> None:
        self._read += octets
        if self._read >= READ_BYTES:
            self._transport.write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._read)))
            self._read = 0

    def _end_with(self, stream: int, code: str) -> None:
        number, message = self._calls.pop(stream, None), self._messages.pop(stream, b"")
        if number is not None:
            del self._streams[number]
            # Five bytes before it: whether it is compressed, and its length.
            self._answered(number, code, message[5:])

    def _gave_up_or_failed(self, number: int, end: End) -> None:
        self._answered(number, GAVE_UP if end is End.GAVE_UP else LOST, b"")


def address_of(target: str) -> tuple[str, int]:
    """Return host and port of "host:port"; an IPv6 address loses its brackets."""
    host, _, port = target.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def code_of(trailers: bytes) -> str:
    """Return the name of the `grpc-status` in a block that was encoded without a table."""
    start = trailers.index(b"grpc-status") + len(b"grpc-status")
    text = trailers[start + 1 : start + 1 + trailers[start]]
    return CODES.get(int(text), "UNKNOWN") if text.isdigit() else "UNKNOWN"
