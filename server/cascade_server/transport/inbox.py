"""Parses the messages of a call from received bytes: gRPC's length-prefixed messages."""

from __future__ import annotations

import zlib

import grpc

from cascade_server.transport.http2.limits import TransportLimits

# The `wbits` argument of zlib, by encoding.
ZLIB = {"gzip": 31, "deflate": 15}
PREFIX_BYTES = 5
# Up to this inflated size, any compression ratio is allowed.
SMALL_BYTES = 2**20


class Refused(Exception):
    """A call cannot go on.

    Attributes:
        code: the status that it ends with.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoRoom(Refused):
    """A call cannot go on because the server holds too much for other calls."""

    def __init__(self) -> None:
        super().__init__(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "the server has no memory left for a message of this size",
        )


class Inbox:
    """The received bytes of one call; messages are extracted when they are taken.

    A message that has not been taken is neither copied nor inflated, so it costs only its bytes.

    Attributes:
        complete: whether the peer has sent everything.
        inflated: bytes of the message taken last, if it was compressed: they count as received
            bytes until the next message is taken.
        extra: bytes beyond `ahead_bytes` that the peer may send to complete a large message.

    Args:
        encoding: the encoding of messages flagged as compressed.
        limits: limits on messages.
        single: whether only one message is allowed.
    """

    __slots__ = (
        "_ahead",
        "_buffer",
        "_encoding",
        "_inflation",
        "_most_bytes",
        "_need",
        "_single",
        "_start",
        "complete",
        "extra",
        "inflated",
    )

    def __init__(self, encoding: str, limits: TransportLimits, single: bool) -> None:
        self._encoding, self._single = encoding, single
        self._most_bytes, self._ahead = limits.message_bytes, limits.ahead_bytes
        self._inflation = limits.inflation
        # Received and not taken: `_buffer` from `_start` on.
        self._buffer: bytes | bytearray = b""
        self._start = 0
        # Bytes of the next message with its prefix, as far as known.
        self._need = PREFIX_BYTES
        self.complete = False
        self.inflated = self.extra = 0

    @property
    def kept(self) -> int:
        """Received bytes that have not been taken."""
        return len(self._buffer) - self._start

    @property
    def ready(self) -> bool:
        """Whether a complete message has been received."""
        kept = len(self._buffer) - self._start
        return kept >= PREFIX_BYTES and kept >= self._need

    @property
    def beyond(self) -> int:
        """Bytes by which the next message exceeds what the peer may send ahead."""
        return 0 if self.complete else max(0, self._need - self._ahead)

    @property
    def partial(self) -> bool:
        """Whether a message has been received in part."""
        return self.kept > 0 and not self.ready

    def put(self, data: bytes, last: bool) -> None:
        """Add received bytes.

        Raises:
            Refused: a message is too large, truncated, or one too many.
        """
        self.complete = last
        if not self._buffer:
            self._buffer = data
            body = len(data) - PREFIX_BYTES
            if 0 <= body <= self._most_bytes and body == int.from_bytes(data[1:5], "big"):
                # The common case: exactly one complete message.
                self._need = len(data)
                return
        else:
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            self._buffer += data
        self._look()

    def _look(self) -> None:
        """Read the prefix of the next message, if it has been received.

        Raises:
            Refused: as for `put`.
        """
        kept = len(self._buffer) - self._start
        if kept >= PREFIX_BYTES:
            start = self._start
            length = int.from_bytes(self._buffer[start + 1 : start + PREFIX_BYTES], "big")
            if length > self._most_bytes:
                raise Refused(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"the message is larger than max ({length} vs. {self._most_bytes})",
                )
            self._need = PREFIX_BYTES + length
            if self._single and kept > self._need:
                raise Refused(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "the call has more than one message; exactly 1 is allowed",
                )
        else:
            self._need = PREFIX_BYTES
        if self.complete and kept < self._need:
            if kept:
                raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "the last message is cut short")
            if self._single:
                raise Refused(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "the call has no message; exactly 1 is allowed",
                )

    def take_plain(self) -> bytes | None:
        """Return the call's one message, if that is all received, small and not compressed."""
        data = self._buffer
        if not self._single or not self._need == len(data) <= self._ahead or data[0]:
            return None
        self._buffer = b""
        return bytes(data[PREFIX_BYTES:])

    @property
    def compressed(self) -> bool:
        """Whether the next message is flagged as compressed."""
        return len(self._buffer) > self._start and self._buffer[self._start] != 0

    def take(self) -> bytes:
        """Return the next message, which must be complete.

        Raises:
            Refused: it cannot be inflated, or the data after it is not allowed.
        """
        start, end = self._start, self._start + self._need
        flag = self._buffer[start]
        body = bytes(self._buffer[start + PREFIX_BYTES : end])
        self._start = end
        if end == len(self._buffer):
            self._buffer, self._start = b"", 0
            self._need = PREFIX_BYTES
        elif end > self._ahead:
            # Taken bytes are dropped in large steps, so that each byte is moved once or twice.
            self._buffer, self._start = self._buffer[end:], 0
        self.inflated = 0
        if flag:
            body = self._inflate(body)
        if not self._single:
            self._look()
        return body

    def to_grant(self, window: int) -> int:
        """Return the bytes to add to the peer's window for taken messages, in large steps.

        Args:
            window: bytes that the peer may send already.
        """
        if self.complete:
            return 0
        room = self._ahead + self.extra - window - self.kept - self.inflated
        return room if room > self._ahead // 2 or (self.extra and room > 0) else 0

    def _inflate(self, message: bytes) -> bytes:
        wbits = ZLIB.get(self._encoding)
        if wbits is None:
            raise Refused(
                grpc.StatusCode.UNIMPLEMENTED,
                f"grpc-encoding is {self._encoding[:40]!r}; allowed: identity, deflate, gzip",
            )
        most = min(self._most_bytes, max(SMALL_BYTES, self._inflation * len(message)))
        inflater = zlib.decompressobj(wbits)
        try:
            out = inflater.decompress(message, most + 1)
        except zlib.error as exc:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT, f"a message that is no {self._encoding}"
            ) from exc
        self.inflated = len(out)
        if not inflater.eof and len(out) <= most:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT, f"a message whose {self._encoding} is cut short"
            )
        if len(out) > most:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the message is larger than max once it is inflated ({len(out)} vs. {most})",
            )
        return out
