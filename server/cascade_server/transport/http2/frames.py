"""Reads and writes HTTP/2 frames and settings (RFC 9113), without state."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

HEADER_BYTES = 9
# Defaults of the protocol: the largest frame, and the window of a connection and of a stream.
FRAME_BYTES = 16_384
WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
LARGEST_STREAM = 2**31 - 1


class Code(IntEnum):
    """Why a stream or a connection ends (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12


class Setting(IntEnum):
    """Identifiers of settings (RFC 9113, 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class StreamFault(Exception):
    """The peer made an error that ends one stream only.

    Attributes:
        code: the error code sent to the peer.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class Broken(Exception):
    """The peer violated HTTP/2: its connection ends.

    Attributes:
        code: the error code sent to the peer, with the message.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class PeerSettings:
    """The peer's limits on what it is sent."""

    window: int = WINDOW
    frame_bytes: int = FRAME_BYTES


head_of = struct.Struct(">HBBBI")


def frame_head(size: int, kind: int, flags: int, stream: int) -> bytes:
    """Serialize the header of a frame with a payload of `size` bytes."""
    return head_of.pack(size >> 8, size & 0xFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Serialize a frame: 9 bytes of header (RFC 9113, section 4.1), then the payload."""
    size = len(payload)
    return head_of.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """Serialize a SETTINGS frame (RFC 9113, section 6.5)."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *each) for each in values.items()))


def header_frames(flags: int, stream: int, block: bytes, most: int) -> bytes:
    """Serialize a header block as frames of at most `most` bytes."""
    size = len(block)
    if size <= most:
        head = head_of.pack(size >> 8, size & 0xFF, HEADERS, END_HEADERS | flags, stream)
        return head + block
    out = frame(HEADERS, flags, stream, block[:most])
    for start in range(most, len(block), most):
        last = END_HEADERS if start + most >= len(block) else 0
        out += frame(CONTINUATION, last, stream, block[start : start + most])
    return out


def window_update(stream: int, size: int) -> bytes:
    """Serialize a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def reset(stream: int, code: Code) -> bytes:
    """Serialize a RST_STREAM frame, which ends one stream (RFC 9113, section 6.4)."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last: int, code: Code, message: str = "") -> bytes:
    """Serialize a GOAWAY frame: streams above `last` were not processed."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + message.encode())


def changed(payload: bytes, before: PeerSettings) -> PeerSettings:
    """Apply the peer's SETTINGS.

    Raises:
        Broken: a value is not allowed.
    """
    if len(payload) % 6:
        raise Broken(Code.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes; 6 each")
    window, frame_bytes = before.window, before.frame_bytes
    for setting, value in struct.iter_unpack(">HI", payload):
        if setting == Setting.INITIAL_WINDOW_SIZE:
            if value > LARGEST_WINDOW:
                raise Broken(Code.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE is {value}")
            window = value
        elif setting == Setting.MAX_FRAME_SIZE:
            if not FRAME_BYTES <= value < 2**24:
                raise Broken(Code.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
            frame_bytes = value
        elif setting == Setting.ENABLE_PUSH and value > 1:
            raise Broken(Code.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
    return PeerSettings(window, frame_bytes)


def increment(payload: bytes) -> int:
    """Read by how much a WINDOW_UPDATE widens a window.

    Raises:
        Broken: the payload is not four bytes long.
    """
    if len(payload) != 4:
        raise Broken(Code.FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {len(payload)} bytes; 4 are allowed")
    return int.from_bytes(payload, "big") & LARGEST_WINDOW


def unpadded(flags: int, payload: bytes) -> bytes:
    """Return the content of a DATA or HEADERS frame without padding.

    Raises:
        Broken: the padding is longer than the frame.
    """
    if not flags & PADDED:
        return payload
    if not payload:
        raise Broken(Code.FRAME_SIZE_ERROR, "no padding length where the flag announces one")
    end = len(payload) - payload[0]
    if end < 1:
        raise Broken(Code.PROTOCOL_ERROR, "more padding than the frame is long")
    return payload[1:end]


def block_of(flags: int, payload: bytes) -> bytes:
    """Return the header block of a HEADERS frame.

    Raises:
        Broken: the frame is shorter than its flags require.
    """
    block = unpadded(flags, payload)
    if not flags & HAS_PRIORITY:
        return block
    if len(block) < 5:
        raise Broken(Code.FRAME_SIZE_ERROR, "HEADERS without the priority that its flag announces")
    return block[5:]
