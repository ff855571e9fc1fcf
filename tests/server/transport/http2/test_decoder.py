"""Our decoder of header blocks beside hpack's: what the one says, the other does."""

from __future__ import annotations

import pytest
from cascade_server.transport.http2.decoder import BlockDecoder
from hpack import Decoder, Encoder, HPACKDecodingError, HPACKError, OversizedHeaderListError
from hypothesis import example, given
from hypothesis import strategies as st

LARGEST = 2_000

NAMES = st.sampled_from([b":path", b":method", b"te", b"grpc-timeout", b"x", b"long-name" * 20])
VALUES = st.one_of(st.sampled_from([b"", b"POST", b"/", b"50m"]), st.binary(max_size=300))
# A field, and whether it is to be kept out of tables.
FIELDS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=6)
TABLES = st.sampled_from([None, 0, 70, 4096])
MADE = st.tuples(FIELDS, st.booleans(), TABLES)
# Of a block that was made: how much is kept, and a byte that is put in its place.
DAMAGE = st.tuples(st.integers(0, 400), st.none() | st.integers(0, 255))


def decoded(decoder: BlockDecoder | Decoder, block: bytes) -> list[tuple[bytes, bytes]] | str:
    """The fields; or what kind of block it is that has none."""
    try:
        if isinstance(decoder, BlockDecoder):
            return decoder.decode(block)
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except OversizedHeaderListError:
        return "too large"
    except HPACKError:
        return "none"


def assert_equal(blocks: list[bytes]) -> None:
    ours, theirs = BlockDecoder(LARGEST), Decoder(max_header_list_size=LARGEST)
    for block in blocks:
        found = decoded(ours, block)
        assert found == decoded(theirs, block)
        if isinstance(found, str):
            return  # The connection ends.
        assert ours.table.dynamic_entries == theirs.header_table.dynamic_entries
        assert ours.table.maxsize == theirs.header_table.maxsize


@given(st.lists(MADE, max_size=12), DAMAGE)
def test_blocks_that_were_made(
    made: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]],
    damage: tuple[int, int | None],
) -> None:
    """The last one is cut, and may go on with another byte."""
    encoder, blocks = Encoder(), []
    for fields, huffman, size in made:
        if size is not None:
            encoder.header_table_size = size
        blocks.append(encoder.encode(fields, huffman=huffman))
    keep, byte = damage
    if blocks:
        blocks[-1] = blocks[-1][:keep] + (b"" if byte is None else bytes([byte]))
    assert_equal(blocks)


@given(st.lists(st.binary(max_size=60), max_size=4))
@example([b"\x80"])  # entry 0
@example([b"\xff\x80\x80\x80\x80\x80\x00"])  # an integer of seven bytes
@example([b"\xff\xff\xff\xff\xff\x7f"])  # one of six, and no such entry
@example([b"\x3f\xe1\x1f"])  # a table of 4,096 bytes
@example([b"\x3f\xe2\x1f"])  # of one more
@example([b"\x82\x20"])  # an update behind a field
@example([b"\x40\x01a\x7f\x00" + b"b" * 127, b"\xbe"])  # lengths that fill their prefix
@example([b"\x0f\x2f\x01a"])  # the first entry of a table that has none
@example([b"\x00\x81\xff\x01a"])  # a name that is padding alone
@example([b"\x00\x82\x1f\xff\x01a"])  # padding of a byte
def test_any_bytes(blocks: list[bytes]) -> None:
    assert_equal(blocks)


@pytest.mark.parametrize("keep", range(1, 13))
def test_a_field_that_is_cut_is_none(keep: int) -> None:
    with pytest.raises(HPACKDecodingError):
        BlockDecoder(LARGEST).decode(b"\x00\x04name\x06values"[:keep])
