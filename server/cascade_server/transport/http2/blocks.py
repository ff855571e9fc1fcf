"""Writes the header blocks of answers (gRPC over HTTP/2): initial headers and trailers."""

from __future__ import annotations

import base64
from urllib.parse import quote, unquote_to_bytes

from cascade_server.transport.http2.headers import Metadata
from cascade_server.transport.http2.limits import TransportLimits

PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
CUT = "..."


def _field(name: bytes, value: bytes) -> bytes:
    """Encode a header as a literal, without indexing, so that no connection state is needed."""
    return b"\0" + _length(len(name)) + name + _length(len(value)) + value


def _length(size: int) -> bytes:
    """Encode an HPACK integer with a prefix of 7 bits (RFC 7541, 5.1)."""
    if size < 127:
        return bytes((size,))
    out, rest = bytearray((127,)), size - 127
    while rest >= 128:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


# `:status: 200` is entry 8 of HPACK's static table.
INITIAL = (
    b"\x88"
    + _field(b"content-type", b"application/grpc")
    + _field(b"grpc-accept-encoding", b"identity,deflate,gzip")
)
OK_TRAILERS = _field(b"grpc-status", b"0")


def initial(metadata: Metadata = ()) -> bytes:
    """Return the block before the first message of an answer."""
    return INITIAL + _fields(metadata)


def trailers(
    status: int,
    message: str = "",
    metadata: Metadata = (),
    most_bytes: int = TransportLimits.status_bytes,
) -> bytes:
    """Return the block after the last message of an answer; nothing is cached.

    Args:
        status: the gRPC status number.
        message: any text; all but printable ASCII is percent-encoded.
        metadata: trailing metadata.
        most_bytes: most bytes of the encoded message, and of the metadata. Clients' own limits are
            not much larger, and exceeding them would lose the whole status. A long message is cut;
            metadata that does not fit is left out.
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
    """Percent-encode a text, and cut it if it is long."""
    if len(message) <= most_bytes and message.isascii() and message.isprintable():
        plain = message.replace("%", "%25").encode()
        if len(plain) <= most_bytes:
            return plain
    encoded = quote(message[: most_bytes + 1], safe=PRINTABLE, errors="replace")
    if len(encoded) <= most_bytes:
        return encoded.encode()
    # Cut neither within a percent escape nor within a character.
    cut = encoded[: most_bytes - len(CUT)].encode()
    start = cut.rfind(b"%", -2)
    whole = unquote_to_bytes(cut[:start] if start >= 0 else cut).decode(errors="ignore")
    return quote(whole, safe=PRINTABLE).encode() + CUT.encode()


def http_status(status: int) -> bytes:
    """Return the block that answers a request that is not a gRPC call."""
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
