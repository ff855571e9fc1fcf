"""Parses frames (RFC 9113, sections 3.4, 4 and 6.10) one at a time, and joins header blocks.

A subclass interprets the frames. Inheritance, rather than a callback, saves a function call per
message.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from cascade_server.transport.http2.events import QUIET, Event
from cascade_server.transport.http2.frames import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    FRAME_BYTES,
    HAS_PRIORITY,
    HEADER_BYTES,
    LARGEST_STREAM,
    PADDED,
    PREFACE,
    SETTINGS,
    Broken,
    Code,
    StreamFault,
    block_of,
    head_of,
)
from cascade_server.transport.http2.limits import TransportLimits

# A header block may have this many times the allowed bytes of a header list.
BLOCK_SHARE = 2
# The first byte of a TLS connection (RFC 8446, 5.1).
TLS_HANDSHAKE = 0x16


class FrameReader(ABC):
    """Takes bytes and handles the frames in them.

    Attributes:
        begun: whether the peer has sent a valid connection preface.

    Args:
        limits: limits on the peer.
        clock: monotonic seconds.
    """

    # The handler of each kind of frame, by index: takes stream, flags and payload.
    _react: tuple[Callable[[int, int, bytes], Event], ...]

    def __init__(self, limits: TransportLimits, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self.begun = False
        self._data, self._start = b"", 0
        # When a partial frame, or a partial header block, began; infinite: there is none.
        self._part_since = self._block_since = math.inf
        # A header block that CONTINUATION frames will complete: stream, flags, bytes so far.
        self._block: tuple[int, int, bytearray] | None = None
        self._continuations = 0

    @abstractmethod
    def fault(self, number: int, fault: StreamFault) -> Event:
        """Handle an error of the peer that ends one stream."""

    @abstractmethod
    def unknown(self) -> Event:
        """Handle a frame of an unknown kind."""

    @abstractmethod
    def _on_block(self, number: int, flags: int, block: bytes) -> Event:
        """Handle a complete header block."""

    def receive(self, data: bytes) -> None:
        """Add received bytes; `step` parses them."""
        left = self._data[self._start :]
        self._data, self._start = left + data if left else data, 0

    @property
    def has_frame(self) -> bool:
        """Whether a complete frame has been received."""
        size = len(self._data) - self._start
        if size < HEADER_BYTES or not self.begun:
            return False
        head = self._data[self._start : self._start + 3]
        # A frame that is too long is detected before all of it has arrived.
        return size >= HEADER_BYTES + min(int.from_bytes(head, "big"), FRAME_BYTES)

    def overdue(self, now: float) -> str | None:
        """Name what the peer has begun and not completed in time; None: nothing."""
        limits = self._limits
        if now - self._block_since > limits.headers_seconds:
            return f"headers that take more than {limits.headers_seconds:g} s"
        if now - self._part_since > limits.message_seconds:
            return f"a frame that takes more than {limits.message_seconds:g} s"
        return None

    def step(self) -> Event | None:
        """Handle one frame; return None if no complete one has been received.

        Raises:
            Broken: the connection must end.
        """
        data, start = self._data, self._start
        size = len(data) - start
        if not self.begun:
            if not self._begins(data):
                return None
            start, size = self._start, len(data) - self._start
        if size >= HEADER_BYTES:
            high, low, kind, flags, number = head_of.unpack_from(data, start)
            length = high << 8 | low
            if length > FRAME_BYTES:
                raise Broken(
                    Code.FRAME_SIZE_ERROR, f"a frame of {length} bytes; {FRAME_BYTES} are allowed"
                )
            end = start + HEADER_BYTES + length
            if end <= len(data):
                self._start, self._part_since = end, math.inf
                if self._block is not None and kind != CONTINUATION:
                    raise Broken(Code.PROTOCOL_ERROR, "headers are interrupted by another frame")
                if kind > CONTINUATION:
                    return self.unknown()
                number &= LARGEST_STREAM
                try:
                    return self._react[kind](number, flags, data[start + HEADER_BYTES : end])
                except StreamFault as exc:
                    return self.fault(number, exc)
        if size and self._part_since == math.inf:
            self._part_since = self._clock()
        return None

    def _begins(self, data: bytes) -> bool:
        if not PREFACE.startswith(data[: len(PREFACE)]):
            what = ", but TLS, which this port does not speak" if data[0] == TLS_HANDSHAKE else ""
            raise Broken(Code.PROTOCOL_ERROR, f"not HTTP/2{what}; this is a gRPC server's port")
        if len(data) < len(PREFACE) + HEADER_BYTES:
            return False
        if data[len(PREFACE) + 3] != SETTINGS or data[len(PREFACE) + 4] & ACK:
            raise Broken(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        self.begun, self._start = True, len(PREFACE)
        return True

    def _on_headers(self, number: int, flags: int, payload: bytes) -> Event:
        if number % 2 == 0:
            raise Broken(Code.PROTOCOL_ERROR, f"HEADERS on stream {number}; the odd are a client's")
        block = block_of(flags, payload) if flags & (PADDED | HAS_PRIORITY) else payload
        if flags & END_HEADERS:
            return self._on_block(number, flags, block)
        self._block, self._continuations = (number, flags, bytearray(block)), 0
        self._block_since = self._clock()
        return QUIET

    def _on_continuation(self, number: int, flags: int, payload: bytes) -> Event:
        if self._block is None or self._block[0] != number:
            raise Broken(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")
        _, first, block = self._block
        block += payload
        self._continuations += 1
        limits = self._limits
        if self._continuations > limits.continuations:
            raise Broken(
                Code.ENHANCE_YOUR_CALM,
                f"headers in more than {limits.continuations} CONTINUATION frames",
            )
        if len(block) > BLOCK_SHARE * limits.header_list_bytes:
            raise Broken(
                Code.ENHANCE_YOUR_CALM, f"headers of more than {limits.header_list_bytes} bytes"
            )
        if not flags & END_HEADERS:
            return QUIET
        self._block, self._block_since = None, math.inf
        return self._on_block(number, first, bytes(block))
