"""What attackers send, as bytes: header blocks that need no table, calls, messages, bombs.

Nothing of the server's own is used here, so that its mistakes are not made twice.
"""

from __future__ import annotations

import struct
import zlib
from functools import cache

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8

SYNTHESIZE = "/cascade.v1.Synthesis/Synthesize"
STREAM = "/cascade.v1.Synthesis/SynthesizeStream"
GENERATE = "/cascade.v1.Synthesis/Generate"
HEALTH = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame (RFC 9113, 4.1)."""
    size = len(payload)
    return struct.pack(">HBBBI", size >> 8, size & 0xFF, kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """SETTINGS, by number: `s4=0` is INITIAL_WINDOW_SIZE."""
    pairs = ((int(name[1:]), value) for name, value in values.items())
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """HPACK's integer (RFC 7541, 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    out, value = bytearray((first | most,)), value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def literal(name: bytes, value: bytes, first: int = 0) -> bytes:
    """A header as it is; `first` 0x40 puts it into the table too."""
    return bytes((first,)) + integer(len(name), 7) + name + integer(len(value), 7) + value


@cache
def head(path: str, *more: tuple[bytes, bytes]) -> bytes:
    """The header block of a gRPC call."""
    fields = (
        (b":path", path.encode()),
        (b":authority", b"attacked"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *more,
    )
    return b"\x83\x86" + b"".join(literal(*each) for each in fields)


def begin(stream: int, path: str, *more: tuple[bytes, bytes], end: bool = False) -> bytes:
    """HEADERS of a call."""
    return frame(HEADERS, END_HEADERS | end * END_STREAM, stream, head(path, *more))


def message(body: bytes, flag: int = 0) -> bytes:
    """A message as gRPC sends it: a flag, its length, its bytes."""
    return bytes((flag,)) + len(body).to_bytes(4, "big") + body


def data(stream: int, body: bytes, end: bool = False) -> bytes:
    """DATA frames of at most 16 KiB."""
    parts = [body[at : at + 16_384] for at in range(0, len(body), 16_384)] or [b""]
    last = len(parts) - 1
    return b"".join(
        frame(DATA, END_STREAM if end and at == last else 0, stream, part)
        for at, part in enumerate(parts)
    )


def call(stream: int, path: str, body: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """All of a unary call."""
    return begin(stream, path, *more) + data(stream, message(body), end=True)


@cache
def bomb(mib: int) -> bytes:
    """So many MiB of zeros, by gzip: a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(bytes(mib << 20)) + packer.flush()


GZIP = (b"grpc-encoding", b"gzip")
