"""Header blocks: looked up or decoded, they mean the same."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import unquote

import pytest
from cascade_server.transport.http2.blocks import initial, trailers
from cascade_server.transport.http2.frames import Broken, StreamFault
from cascade_server.transport.http2.headers import MOST_KNOWN, MOST_SHAPES, Heads, head_of
from hpack import Decoder, Encoder, HPACKError
from hypothesis import example, given
from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "c", "long-name", "some-bin", "grpc-encoding"])
VALUES = st.sampled_from(["", "x", "y", "value" * 6])
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
PSEUDO = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a/B"),
    ("content-type", "application/grpc"),
]


# In no table: whatever a block that is sent again means by then, it is a request.
FIXED = [(name, value, True) for name, value in PSEUDO]
STEPS = st.one_of(
    st.tuples(FIELDS, st.booleans(), st.sampled_from([None, 0, 100, 4096])), st.integers(0, 20)
)


@given(st.lists(STEPS, max_size=60))
def test_a_known_block_means_what_decoding_it_means(
    steps: list[tuple[list[tuple[str, str]], bool, int | None] | int],
) -> None:
    """Blocks come again, tables fill, shrink and are emptied: what is remembered is never wrong."""
    heads, encoder, reference = Heads(), Encoder(), Decoder()
    sent: list[bytes] = []
    for step in steps:
        if isinstance(step, int):
            # An earlier one as it was; its references may mean something else, or nothing.
            if not sent:
                continue
            block = sent[step % len(sent)]
        else:
            more, huffman, size = step
            if size is not None:
                encoder.header_table_size = size
            block = encoder.encode([*FIXED, *more], huffman=huffman)
            sent.append(block)
        try:
            fields = [(bytes(n), bytes(v)) for n, v in reference.decode(block, raw=True)]
            expected = head_of(fields)
        except (HPACKError, Broken, StreamFault):
            with pytest.raises((Broken, StreamFault)):
                heads.read(block)
            return
        assert heads.read(block) == expected


# A timeout as it may be sent, or may not, and whether it is spelled out, and in no table.
TIMEOUTS = st.tuples(
    st.one_of(
        st.from_regex(rb"[0-9]{0,9}[HMSmunx]?", fullmatch=True),
        st.binary(max_size=10),
    ),
    st.booleans(),
)
KINDS = st.lists(st.tuples(NAMES, VALUES), max_size=2).map(lambda more: [*PSEUDO, *more])


@given(
    st.lists(KINDS, min_size=1, max_size=MOST_SHAPES + 2),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6), TIMEOUTS, st.booleans()), max_size=40),
)
def test_a_block_that_differs_in_its_timeout_alone_means_what_decoding_it_means(
    kinds: list[list[tuple[str, str]]],
    sent: list[tuple[int, int, tuple[bytes, bool], bool]],
) -> None:
    heads, reference = Heads(), Decoder()
    encoder = Encoder()
    for kind, place, (timeout, spelled), huffman in sent:
        fields: list[Any] = [(*field, True) for field in kinds[kind % len(kinds)]]
        fields.insert(len(PSEUDO) + place, ("grpc-timeout", timeout, spelled))
        block = encoder.encode(fields, huffman=huffman)
        expected_fields = [(bytes(n), bytes(v)) for n, v in reference.decode(block, raw=True)]
        try:
            expected = head_of(expected_fields)
        except StreamFault:
            with pytest.raises(StreamFault):
                heads.read(block)
            continue
        found = heads.read(block)
        assert found.timeout == expected.timeout
        assert found.metadata() == expected.metadata()
        assert found[:2] == expected[:2]
        assert len(heads._shapes) <= MOST_SHAPES


# How a field that is spelled out begins (RFC 7541, 6.2): the first has the table remember it.
INDEXED, PLAIN, NEVER_INDEXED = 0x40, 0x00, 0x10
BEGINNINGS = st.sampled_from([INDEXED, PLAIN, NEVER_INDEXED])
# An entry with a timeout takes 44 bytes and those of the timeout.
TABLE_SIZES = st.sampled_from([None, None, None, 0, 45, 46, 47, 48, 100, 4096])


def spelled_out(beginning: int, name: str, value: str) -> bytes:
    return b"".join(
        (bytes([beginning, len(name)]), name.encode(), bytes([len(value)]), value.encode())
    )


def spelled_block(size: int | None, timeout: tuple[int, str], more: list[tuple[int, str]]) -> bytes:
    """A request with all fields spelled out, after an update of the table's size."""
    block = b""
    if size is not None:
        hpack = Encoder()
        hpack.header_table_size = size
        block = hpack.encode([])
    block += b"".join(spelled_out(PLAIN, *field) for field in PSEUDO)
    block += b"".join(spelled_out(beginning, "a", value) for beginning, value in more)
    return block + spelled_out(timeout[0], "grpc-timeout", timeout[1])


@example([(46, (PLAIN, "7S"), []), (None, (INDEXED, "100m"), []), (None, (INDEXED, "5S"), [])])
@given(
    st.lists(
        st.tuples(
            TABLE_SIZES,
            st.tuples(BEGINNINGS, st.sampled_from(["5S", "7S", "50m", "100m", "12345678u"])),
            st.lists(st.tuples(BEGINNINGS, st.sampled_from(["", "x" * 15])), max_size=2),
        ),
        max_size=12,
    )
)
def test_a_table_too_small_for_a_timeout_stays_what_the_peer_thinks_it_is(
    sent: list[tuple[int | None, tuple[int, str], list[tuple[int, str]]]],
) -> None:
    """A timeout that does not fit empties the table, and the next one may fit."""
    heads, reference = Heads(), Decoder()
    for size, timeout, more in sent:
        block = spelled_block(size, timeout, more)
        expected = head_of([(bytes(n), bytes(v)) for n, v in reference.decode(block, raw=True)])
        found = heads.read(block)
        assert (found.timeout, found.metadata()) == (expected.timeout, expected.metadata())
        assert heads._decoder.table.dynamic_entries == reference.header_table.dynamic_entries


def test_what_looks_like_a_timeout_elsewhere_is_none() -> None:
    """A value that holds the very bytes of the timeout, before and after it."""
    heads = Heads()
    for timeout in ("5m", "7S"):
        before = [("a", "\x025m"), ("grpc-timeout", timeout), ("b", "\x025m")]
        fields = [(name, value, True) for name, value in [*PSEUDO, *before]]
        head = heads.read(Encoder().encode(fields, huffman=False))
        assert head.timeout == {"5m": 5e-3, "7S": 7.0}[timeout]
        assert head.metadata() == (("a", "\x025m"), ("b", "\x025m"))


def test_what_is_remembered_is_bounded() -> None:
    heads, encoder = Heads(), Encoder()
    for number in range(10 * MOST_KNOWN):
        # Never in the table, so that nothing is forgotten because of it.
        sent = encoder.encode([*PSEUDO, ("number", str(number), True)])
        heads.read(sent)
    assert len(heads._known) <= MOST_KNOWN


@given(st.binary(max_size=200))
def test_no_block_does_harm(block: bytes) -> None:
    with contextlib.suppress(Broken, StreamFault):
        Heads().read(block)


@given(st.text(max_size=60))
def test_any_message_can_be_said(message: str) -> None:
    try:
        message.encode()
    except UnicodeEncodeError:
        return
    found = dict(Decoder().decode(trailers(3, message), raw=True))
    said = found.get(b"grpc-message", b"")
    assert all(0x20 <= byte < 0x7F for byte in said)
    assert unquote(said.decode()) == message


@given(st.binary(max_size=300))
def test_bytes_go_as_base64_without_padding(value: bytes) -> None:
    block = initial((("some-bin", value),))
    (found,) = [v for n, v in Decoder().decode(block, raw=True) if n == b"some-bin"]
    assert b"=" not in found
    head = Heads().read(Encoder().encode([*PSEUDO, ("some-bin", found)]))
    assert head.metadata() == (("some-bin", value),)
