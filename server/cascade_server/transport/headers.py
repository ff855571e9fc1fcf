"""gRPC's headers (the gRPC over HTTP/2 protocol): what a call asks for, and how one ends."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from hpack import Decoder, HPACKError

from cascade_server.transport.frames import Broken, Code

Metadata = Sequence[tuple[str, str | bytes]]

# Of one call: what gRPC's own servers allow by default.
HEADER_LIST_BYTES = 16 * 1024
# Blocks whose meaning is remembered, of one connection.
MOST_KNOWN = 64
TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
# Headers that are the protocol's and not the caller's.
RESERVED = frozenset((b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"user-agent"))


@dataclass(frozen=True)
class Head:
    """What the headers of a call say.

    Attributes:
        path: "/package.Service/Method".
        wrong: the HTTP status of what is no gRPC call at all; 0: it is one.
        timeout: seconds; None: as long as it takes.
        encoding: of compressed messages.
        headers: all, as they came.
    """

    path: str
    wrong: int
    timeout: float | None
    encoding: str
    headers: Sequence[tuple[bytes, bytes]]

    def metadata(self) -> Metadata:
        """What the caller sends along."""
        return tuple(
            _decoded(name, value)
            for name, value in self.headers
            if name not in RESERVED and not name.startswith(b":")
        )


class Heads:
    """Reads the header blocks of one connection.

    After a connection's first calls most blocks refer to the table of headers and leave it as it
    is: such a block means what it meant before, and is looked up.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=HEADER_LIST_BYTES)
        self._known: dict[bytes, Head] = {}
        self._newest: object = None

    def read(self, block: bytes) -> Head:
        """The head that a block stands for.

        Raises:
            Broken: it is none, or larger than is allowed.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        head = head_of(self._fields(block))
        if not self._has_moved(block) and len(self._known) < MOST_KNOWN:
            self._known[block] = head
        return head

    def skip(self, block: bytes) -> None:
        """A block that says nothing of interest, but may move the table.

        Raises:
            Broken: it is none, or larger than is allowed.
        """
        self._fields(block)
        self._has_moved(block)

    def _fields(self, block: bytes) -> list[tuple[bytes, bytes]]:
        try:
            fields = self._decoder.decode(block, raw=True)
        except HPACKError as exc:
            raise Broken(Code.COMPRESSION_ERROR, f"a header block that is none: {exc}") from exc
        return [(bytes(name), bytes(value)) for name, value in fields]

    def _has_moved(self, block: bytes) -> bool:
        """Whether the block has changed what others mean, so that none is known any more."""
        entries = self._decoder.header_table.dynamic_entries
        newest = entries[0] if entries else None
        # A block that changes the table's size says so first. An entry is told by its identity, for
        # an equal one may come again.
        if newest is self._newest and not 0x20 <= block[0] < 0x40:
            return False
        self._newest = newest
        self._known.clear()
        return True


def head_of(headers: Sequence[tuple[bytes, bytes]]) -> Head:
    """What headers ask for.

    Raises:
        Broken: they are not a request's.
    """
    first: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in first and name.startswith(b":"):
            raise Broken(Code.PROTOCOL_ERROR, f"two headers {name.decode('latin1')}")
        first.setdefault(name, value)
    if b":method" not in first or b":path" not in first:
        raise Broken(Code.PROTOCOL_ERROR, "a request without :method or :path")
    wrong = 0
    if first[b":method"] != b"POST":
        wrong = 405
    elif not first.get(b"content-type", b"").startswith(b"application/grpc"):
        wrong = 415
    timeout = None
    if (sent := first.get(b"grpc-timeout")) is not None:
        found = TIMEOUT.fullmatch(sent)
        if found is None:
            wrong = wrong or 400
        else:
            timeout = int(found[1]) * UNITS[found[2]]
    return Head(
        path=first[b":path"].decode("latin1"),
        wrong=wrong,
        timeout=timeout,
        encoding=first.get(b"grpc-encoding", b"identity").decode("latin1"),
        headers=headers,
    )


def _decoded(name: bytes, value: bytes) -> tuple[str, str | bytes]:
    if not name.endswith(b"-bin"):
        return name.decode("latin1"), value.decode("latin1")
    try:
        return name.decode("latin1"), base64.b64decode(value + b"=" * (-len(value) % 4))
    except binascii.Error:
        return name.decode("latin1"), value


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


@lru_cache(256)  # a server that has too much to do says the same to many
def trailers(status: int, message: str = "", metadata: Metadata = ()) -> bytes:
    """The block after the last message of an answer.

    Args:
        status: gRPC's number.
        message: any text; what is not printable ASCII is sent as percents.
        metadata: beside them.
    """
    out = _field(b"grpc-status", str(status).encode())
    if message:
        out += _field(b"grpc-message", quote(message, safe=PRINTABLE).encode())
    return out + _fields(metadata)


def http_status(status: int) -> bytes:
    """The block of an answer to what is no gRPC call."""
    return _field(b":status", str(status).encode())


PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def _fields(metadata: Metadata) -> bytes:
    out = b""
    for name, value in metadata:
        if isinstance(value, bytes):
            sent = base64.b64encode(value).rstrip(b"=") if name.endswith("-bin") else value
        else:
            sent = value.encode("latin1", "replace")
        out += _field(name.lower().encode("latin1"), sent)
    return out
