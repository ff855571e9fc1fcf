"""Header blocks of answers (gRPC over HTTP/2): how one begins, and how it ends."""

from __future__ import annotations

import base64
from urllib.parse import quote, unquote_to_bytes

from cascade_server.transport.http2.headers import Metadata
from cascade_server.transport.http2.limits import TransportLimits

PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
CUT = "..."


def _field(name: bytes, value: bytes) -> bytes:
    """A header as it is, in no table: nothing of a connection's has to be remembered for it."""
    return b"\0" + _length(len(name)) + name + _length(len(value)) + value


def _length(size: int) -> bytes:
    """HPACK's integer with a prefix of 7 bits (RFC 7541, 5.1)."""
    if size < 127:
        return bytes((size,))
    out, rest = bytearray((127,)), size - 127
    while rest >= 128:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


# `:status: 200` is the eighth of the headers that everyone knows.
INITIAL = (
    b"\x88"
    + _field(b"content-type", b"application/grpc")
    + _field(b"grpc-accept-encoding", b"identity,deflate,gzip")
)
OK_TRAILERS = _field(b"grpc-status", b"0")


def initial(metadata: Metadata = ()) -> bytes:
    """The block before the first message of an answer."""
    return INITIAL + _fields(metadata)


def trailers(
    status: int,
    message: str = "",
    metadata: Metadata = (),
    most_bytes: int = TransportLimits.status_bytes,
) -> bytes:
    """The block after the last message of an answer; nothing of it is kept.

    Args:
        status: gRPC's number.
        message: any text; what is not printable ASCII is sent as percents.
        metadata: beside them.
        most_bytes: of the message, as it is sent, and of the metadata: callers' own limits are not
            much larger, and what is beyond them would cost the whole status. The message is cut;
            of the metadata what does not fit is left out.
    """
    out = _field(b"grpc-status", b"%d" % status)
    if message:
        out += _field(b"grpc-message", _sent(message, most_bytes))
    left = most_bytes
    for each in metadata:
        field = _fields((each,))
        if len(field) <= left:
            out += field
            left -= len(field)
    return out


def _sent(message: str, most_bytes: int) -> bytes:
    """A text, its percents and what is not ASCII encoded, cut if it is long."""
    if len(message) <= most_bytes and message.isascii() and message.isprintable():
        plain = message.replace("%", "%25").encode()
        if len(plain) <= most_bytes:
            return plain
    encoded = quote(message[: most_bytes + 1], safe=PRINTABLE, errors="replace")
    if len(encoded) <= most_bytes:
        return encoded.encode()
    # Not within a percent, nor within a character.
    cut = encoded[: most_bytes - len(CUT)].encode()
    start = cut.rfind(b"%", -2)
    whole = unquote_to_bytes(cut[:start] if start >= 0 else cut).decode(errors="ignore")
    return quote(whole, safe=PRINTABLE).encode() + CUT.encode()


def http_status(status: int) -> bytes:
    """The block of an answer to what is no gRPC call."""
    return _field(b":status", str(status).encode())


def _fields(metadata: Metadata) -> bytes:
    out = b""
    for name, value in metadata:
        if isinstance(value, bytes):
            sent = base64.b64encode(value).rstrip(b"=") if name.endswith("-bin") else value
        else:
            sent = value.encode("latin1", "replace")
        out += _field(name.lower().encode("latin1", "replace"), sent)
    return out
