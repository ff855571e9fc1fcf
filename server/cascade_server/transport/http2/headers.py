"""Reads the header blocks of requests (RFC 9113, 8; RFC 7541; gRPC over HTTP/2)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from hpack import HPACKError, OversizedHeaderListError

from cascade_server.transport.http2.decoder import FIELD_BYTES, BlockDecoder, Field
from cascade_server.transport.http2.frames import Broken, Code, StreamFault
from cascade_server.transport.http2.limits import TransportLimits

Key = TypeVar("Key")
Metadata = Sequence[tuple[str, str | bytes]]
Fields = Sequence[Field]

# Cached blocks per connection, and the most bytes of a cached block or of its headers.
MOST_KNOWN, KNOWN_BYTES = 64, 1024
# Cached shapes per connection; blocks of one shape differ only in the timeout.
MOST_SHAPES = 4
# A header list up to this many times too large ends only its call: it is still decoded, so that
# the header table stays in step with the peer's.
READ_ALL_THE_SAME = 4
# Table size updates that a block may begin with (RFC 7541, 4.2).
SIZE_UPDATES = 2
LENGTH_DIGITS = 18
TIMEOUT_NAME = b"grpc-timeout"
TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
# Headers of the protocol, which are not the caller's metadata.
RESERVED = frozenset((b"te", b"content-type", TIMEOUT_NAME, b"grpc-encoding", b"user-agent"))
PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
# Connection-specific headers, which a request must not have (RFC 9113, 8.2.2).
OF_CONNECTIONS = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
TOKENS = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]*")
NOT_IN_VALUES = re.compile(rb"[\0\r\n]")


class Head(NamedTuple):
    """The parsed headers of a call.

    Attributes:
        path: "/package.Service/Method".
        wrong: the HTTP status that refuses a request that is not a gRPC call; 0: it is one.
        timeout: seconds; None: no deadline.
        encoding: the encoding of compressed messages.
        headers: all headers but a valid timeout, in their order.
        content_length: announced bytes of DATA; None: not announced.
    """

    path: str
    wrong: int
    timeout: float | None
    encoding: str
    headers: Fields
    content_length: int | None = None

    def metadata(self) -> Metadata:
        """Return the caller's metadata."""
        return tuple(
            _decoded(name, value)
            for name, value in self.headers
            if name not in RESERVED and not name.startswith(b":")
        )


class Shape(NamedTuple):
    """Blocks that differ only in the timeout, which is a plain literal in each.

    Attributes:
        before, after: the bytes before the timeout's length, and those after the timeout.
        like: the head of all these blocks, except for the timeout.
    """

    before: bytes
    after: bytes
    like: Head

    def timeout(self, block: bytes) -> float | None:
        """Return the timeout of a block of this shape; None: the block has another shape."""
        before, after = self.before, self.after
        start, end = len(before), len(block) - len(after)
        if start >= end or not (block.startswith(before) and block.endswith(after)):
            return None
        # A timeout has one to nine bytes, and so its length takes a single byte.
        return _timeout(block[start + 1 : end]) if block[start] == end - start - 1 else None


class Heads:
    """Reads the header blocks of one connection.

    After a connection's first calls, most blocks refer to the header table and do not change it.
    Such a block means the same as before, and is looked up. Other blocks differ from an earlier one
    only in the timeout: then only the timeout is parsed, from the block itself if it is a plain
    literal there, or else from the decoded fields.

    Args:
        most_bytes: of a list of headers.
    """

    def __init__(self, most_bytes: int = TransportLimits.header_list_bytes) -> None:
        self._most_bytes = most_bytes
        self._decoder = BlockDecoder(READ_ALL_THE_SAME * most_bytes, varying=TIMEOUT_NAME)
        self._known: dict[bytes, Head] = {}
        # Heads of header lists with a timeout, by the timeout's position and the other fields.
        self._timed: dict[tuple[int, tuple[Field, ...]], Head] = {}
        self._shapes: list[Shape] = []
        self._newest: object = None

    def read(self, block: bytes) -> Head:
        """Read the head of a block.

        Raises:
            Broken: the block is malformed, or too large to be decoded.
            StreamFault: the block is valid, but not allowed for a request.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        for shape in self._shapes:
            timeout = shape.timeout(block)
            if timeout is not None:
                return _with_timeout(shape.like, timeout)
        fields = self._fields(block)
        spelled = self._decoder.spelled
        moved = self._has_moved(block)
        head = self._head(fields, 0 if moved else spelled, block)
        if not moved and len(block) <= KNOWN_BYTES:
            _remember(self._known, block, head)
        return head

    def _head(self, fields: list[Field], spelled: int, block: bytes) -> Head:
        """Read the head of decoded fields, and cache the block's shape.

        `spelled` is the timeout's offset in the block if it is a plain literal; else 0.
        """
        places = [place for place, field in enumerate(fields) if field[0] == TIMEOUT_NAME]
        if len(places) != 1:
            return head_of(fields, self._most_bytes)
        place = places[0]
        timeout = _timeout(fields[place][1])
        if timeout is None:
            return head_of(fields, self._most_bytes)
        others = (place, (*fields[:place], *fields[place + 1 :]))
        head = self._timed.get(others)
        if head is None:
            head = head_of(fields, self._most_bytes)._replace(headers=others[1])
            size = sum(len(name) + len(value) + FIELD_BYTES for name, value in fields)
            # A list close to the limit could exceed it with a longer timeout.
            if size > min(KNOWN_BYTES, self._most_bytes // 2):
                return head
            _remember(self._timed, others, head)
        if spelled and len(block) <= KNOWN_BYTES:
            after = block[spelled + len(fields[place][1]) :]
            self._shapes.insert(0, Shape(block[: spelled - 1], after, head))
            del self._shapes[MOST_SHAPES:]
        return _with_timeout(head, timeout)

    def trailers(self, block: bytes) -> None:
        """Decode a block only for its effect on the header table.

        Raises:
            Broken: it is none, or so large that it was not read.
            StreamFault: the block is valid, but not allowed at the end of a request.
        """
        fields = self._fields(block)
        self._has_moved(block)
        for name, _ in fields:
            if name.startswith(b":"):
                raise _malformed(f"{name.decode('latin1')} after a request's messages")
        _check([name for name, _ in fields], [value for _, value in fields])

    def _fields(self, block: bytes) -> list[Field]:
        if _updates_size(block):
            _check_size_updates(block)
        try:
            return self._decoder.decode(block)
        except OversizedHeaderListError as exc:
            allowed = f"{self._most_bytes} bytes are allowed"
            raise Broken(Code.ENHANCE_YOUR_CALM, f"too many headers; {allowed}") from exc
        except HPACKError as exc:
            said = str(exc)[:80]
            raise Broken(Code.COMPRESSION_ERROR, f"a header block that is none: {said}") from exc

    def _has_moved(self, block: bytes) -> bool:
        """Return whether the block changed the table, which invalidates all cached blocks."""
        entries = self._decoder.table.dynamic_entries
        newest = entries[0] if entries else None
        # A block that changes the table's size starts with the update. Entries are compared by
        # identity, because an equal entry may be added again.
        if newest is self._newest and not _updates_size(block):
            return False
        self._newest = newest
        self._known.clear()
        self._shapes.clear()
        return True


def _with_timeout(like: Head, timeout: float) -> Head:
    return Head(like.path, like.wrong, timeout, like.encoding, like.headers, like.content_length)


def _remember(known: dict[Key, Head], key: Key, head: Head) -> None:
    if len(known) >= MOST_KNOWN:
        known.clear()
    known[key] = head


def _updates_size(block: bytes, start: int = 0) -> bool:
    """Return whether the block has a table size update at `start` (RFC 7541, 6.3)."""
    return start < len(block) and 0x20 <= block[start] < 0x40


def _check_size_updates(block: bytes) -> None:
    start = count = 0
    while _updates_size(block, start):
        count += 1
        if count > SIZE_UPDATES:
            raise Broken(
                Code.COMPRESSION_ERROR, f"a block has more than {SIZE_UPDATES} updates of its table"
            )
        # An integer with a prefix of 5 bits (RFC 7541, 5.1).
        more, start = block[start] == 0x3F, start + 1
        while more and start < len(block):
            more, start = block[start] >= 0x80, start + 1


def head_of(headers: Fields, most_bytes: int = TransportLimits.header_list_bytes) -> Head:
    """Parse headers into a head.

    Raises:
        StreamFault: the headers are not valid for a request.
    """
    pseudo: dict[bytes, bytes] = {}
    names: list[bytes] = []
    values: list[bytes] = []
    for name, value in headers:
        if name[:1] != b":":
            names.append(name)
        elif names or name in pseudo or name not in PSEUDO:
            raise _malformed(f"{name[:40].decode('latin1')} where it may not be")
        else:
            pseudo[name] = value
        values.append(value)
    size = _check(names, values) + sum(map(len, pseudo)) + FIELD_BYTES * len(values)
    # If a header is repeated, the first one counts.
    plain = dict(zip(reversed(names), reversed(values[len(pseudo) :]), strict=True))
    wrong = _wrong(pseudo, plain)
    timeout = None
    if (sent := plain.get(TIMEOUT_NAME)) is not None:
        timeout = _timeout(sent)
        if timeout is None:
            wrong = wrong or 400
    length = None
    if b"content-length" in plain:
        lengths = {value for name, value in headers if name == b"content-length"}
        length = lengths.pop()
        if lengths or not length.isdigit() or len(length) > LENGTH_DIGITS:
            raise _malformed("content-length is no length")
    if size > most_bytes:
        wrong = 431
    return Head(
        path=pseudo.get(b":path", b"").decode("latin1"),
        wrong=wrong,
        timeout=timeout,
        encoding=plain.get(b"grpc-encoding", b"identity").decode("latin1"),
        headers=headers,
        content_length=None if length is None else int(length),
    )


def _timeout(sent: bytes) -> float | None:
    """Parse a timeout into seconds; None: it is invalid."""
    found = TIMEOUT.fullmatch(sent)
    return None if found is None else int(found[1]) * UNITS[found[2]]


def _wrong(pseudo: dict[bytes, bytes], plain: dict[bytes, bytes]) -> int:
    """Return the HTTP status that refuses a request that is not a gRPC call; 0: it is one."""
    method, path = pseudo.get(b":method"), pseudo.get(b":path")
    if method == b"CONNECT":
        if b":scheme" in pseudo or path is not None or b":authority" not in pseudo:
            raise _malformed("CONNECT has :authority, and neither :scheme nor :path")
        return 405
    if not method or path is None or not pseudo.get(b":scheme"):
        raise _malformed("a request has :method, :scheme and :path")
    if path[:1] != b"/" and path != b"*":
        raise _malformed(":path is no path")
    if plain.get(b"te", b"trailers") != b"trailers":
        raise _malformed("te is not trailers")
    if method != b"POST":
        return 405
    return 0 if plain.get(b"content-type", b"").startswith(b"application/grpc") else 415


def _check(names: list[bytes], values: list[bytes]) -> int:
    """Check the characters of headers (RFC 9113, 8.2); return their bytes."""
    all_names, all_values = b"".join(names), b"".join(values)
    if b"" in names or not TOKENS.fullmatch(all_names):
        raise _malformed("a header whose name is none")
    if not OF_CONNECTIONS.isdisjoint(names):
        raise _malformed("a header of connections")
    if NOT_IN_VALUES.search(all_values) or any(each != each.strip(b" \t") for each in values):
        raise _malformed("a header whose value may not be")
    return len(all_names) + len(all_values)


def _malformed(message: str) -> StreamFault:
    return StreamFault(Code.PROTOCOL_ERROR, message)


def _decoded(name: bytes, value: bytes) -> tuple[str, str | bytes]:
    if not name.endswith(b"-bin"):
        return name.decode("latin1"), value.decode("latin1")
    try:
        return name.decode("latin1"), base64.b64decode(value + b"=" * (-len(value) % 4))
    except binascii.Error:
        return name.decode("latin1"), value
