"""The messages of a call, out of the bytes that carry them: gRPC's length-prefixed messages."""

from __future__ import annotations

import zlib
from collections import deque

import grpc

# Bytes of a call's messages that the peer may send ahead of what has been read.
AHEAD = 256 * 1024
# What wbits tells zlib to expect.
ZLIB = {"gzip": 31, "deflate": 15}
PREFIX_BYTES = 5


class Refused(Exception):
    """A call cannot go on.

    Attributes:
        code: how it ends.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Inbox:
    """Of one call.

    Attributes:
        messages: that have come and not been taken.
        granted: bytes that the peer may send now.
        complete: whether the last has come.

    Args:
        encoding: of messages that say they are compressed.
        most_bytes: of a message.
    """

    __slots__ = (
        "_encoding",
        "_missing",
        "_most_bytes",
        "_parts",
        "complete",
        "granted",
        "messages",
    )

    def __init__(self, encoding: str, most_bytes: int) -> None:
        self._encoding, self._most_bytes = encoding, most_bytes
        self.messages: deque[bytes] = deque()
        self.granted, self.complete = AHEAD, False
        # Of a message that has come in part: what is there, and how many bytes are not.
        self._parts: list[bytes] = []
        self._missing = 0

    def put(self, data: bytes, last: bool) -> None:
        """Take a part of what is sent.

        Raises:
            Refused: a message is too large, cut short, or compressed in a way that is not known.
        """
        self.complete = last
        if self._parts:
            self._parts.append(data)
            if len(data) < self._missing and not last:
                self._missing -= len(data)
                return
            data = b"".join(self._parts)
            self._parts.clear()
        at, size = 0, len(data)
        while size - at >= PREFIX_BYTES:
            length = int.from_bytes(data[at + 1 : at + PREFIX_BYTES], "big")
            if length > self._most_bytes:
                raise Refused(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"the message is larger than max ({length} vs. {self._most_bytes})",
                )
            end = at + PREFIX_BYTES + length
            if end > size:
                break
            message = data[at + PREFIX_BYTES : end]
            self.messages.append(self._inflated(message) if data[at] else message)
            at = end
        if at == size:
            return
        if last:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "the last message is cut short")
        self._parts.append(data[at:])
        whole = PREFIX_BYTES
        if size - at >= PREFIX_BYTES:
            whole += int.from_bytes(data[at + 1 : at + PREFIX_BYTES], "big")
        self._missing = whole - (size - at)

    def only(self) -> bytes:
        """The message of a unary call that has sent all.

        Raises:
            Refused: there is none, or there are more.
        """
        if len(self.messages) != 1:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the call has {len(self.messages)} messages; exactly 1 is allowed",
            )
        return self.messages.popleft()

    def to_grant(self) -> int:
        """Bytes more that the peer may send: for what has been taken, in large steps, and for a
        message that is larger than what is let in ahead."""
        if self.complete:
            return 0
        if self._parts and self._missing > self.granted:
            return self._missing - self.granted
        room = AHEAD - self.granted - sum(map(len, self._parts)) - sum(map(len, self.messages))
        return room if room > AHEAD // 2 else 0

    def _inflated(self, message: bytes) -> bytes:
        wbits = ZLIB.get(self._encoding)
        if wbits is None:
            raise Refused(
                grpc.StatusCode.UNIMPLEMENTED,
                f"grpc-encoding is {self._encoding!r}; allowed: identity, deflate, gzip",
            )
        most = self._most_bytes
        inflater = zlib.decompressobj(wbits)
        try:
            out = inflater.decompress(message, most + 1)
        except zlib.error as exc:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT, f"a message that is no {self._encoding}"
            ) from exc
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
