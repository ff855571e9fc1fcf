"""Decodes header blocks (RFC 7541) in a fifth of the time of a general decoder, or less.

An overloaded server refuses calls at their headers, and the cost of a refusal decides how many
calls it can still answer. hpack's `Decoder` calls some twelve functions per field and logs each;
this one is a loop. The header table and the Huffman code are hpack's, and tests compare the results
of the two decoders. See docs/adr/0011.
"""

from __future__ import annotations

from functools import lru_cache

from hpack import HPACKDecodingError, InvalidTableSizeError, OversizedHeaderListError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

Field = tuple[bytes, bytes]

STATIC = (None, *HeaderTable.STATIC_TABLE)
FIRST_DYNAMIC = len(STATIC)
# Overhead counted for each field beside its bytes (RFC 7541, 4.1; RFC 9113, 6.5.2).
FIELD_BYTES = 32
# Most bytes of an integer; no allowed one needs more.
LONGEST_INTEGER = 5
# Most bytes of a Huffman code whose text is cached, and the number of cached codes.
SHORT_CODE, MOST_CODES = 64, 1024


@lru_cache(maxsize=MOST_CODES)
def _short_text(code: bytes) -> bytes:
    return decode_huffman(code)


def _text(code: bytes) -> bytes:
    """Decode a Huffman code; cached, because callers send the same few texts repeatedly."""
    return _short_text(code) if len(code) <= SHORT_CODE else decode_huffman(code)


class BlockDecoder:
    """Decodes the header blocks of one connection, in their order of arrival.

    Args:
        most_bytes: most bytes of a header list, as HTTP/2 counts them. Decoding stops at a larger
            list, and the table then no longer matches the peer's.
        varying: the name of a field whose value differs each time.

    Attributes:
        table: HPACK's table of this connection.
        spelled: the offset of the varying field's value in the last block, if the value is a plain
            literal without indexing; 0: it is not. Literals with indexing do not qualify: a value
            that does not fit leaves the table as it is, but a shorter one may fit and change it.
    """

    def __init__(self, most_bytes: int, varying: bytes = b"") -> None:
        self._most_bytes, self._varying = most_bytes, varying
        self.spelled = 0
        self.table = HeaderTable()
        self._largest_table = self.table.maxsize

    def decode(self, block: bytes) -> list[Field]:
        """Decode the fields of a block.

        Raises:
            HPACKDecodingError: the block is malformed.
            OversizedHeaderListError: the fields exceed `most_bytes`.
        """
        try:
            return self._decode(block)
        except IndexError as exc:
            raise HPACKDecodingError("it ends within a field") from exc

    def _decode(self, block: bytes) -> list[Field]:
        table, varying = self.table, self._varying
        self.spelled = 0
        fields: list[Field] = []
        place, end, size = 0, len(block), 0
        while place < end:
            first = block[place]
            place += 1
            if first >= 0x80:  # an indexed field (6.1)
                index = first & 0x7F
                if index == 0x7F:
                    index, place = _integer(block, place, index)
                field = self._entry(index)
            elif 0x20 <= first < 0x40:  # a table size update (6.3)
                if fields:
                    raise HPACKDecodingError("an update of the table's size after a field")
                wanted = first & 0x1F
                if wanted == 0x1F:
                    wanted, place = _integer(block, place, wanted)
                if wanted > self._largest_table:
                    raise InvalidTableSizeError(f"a table of {wanted} bytes")
                table.maxsize = wanted
                continue
            else:  # a literal field (6.2)
                mask = 0x3F if first >= 0x40 else 0x0F
                index = first & mask
                if not index:
                    name, place = _string(block, place)
                elif index < mask:
                    name = self._entry(index)[0]
                else:
                    index, place = _integer(block, place, index)
                    name = self._entry(index)[0]
                # `_string`, inlined for the value: most of the time is spent here.
                length = block[place]
                place += 1
                if length < 0x7F:
                    if name == varying and first < 0x40:
                        self.spelled = place
                    value = block[place : place + length]
                    place += length
                    if place > end:
                        raise HPACKDecodingError("it ends within a value")
                else:
                    value, place = _string(block, place - 1)
                field = (name, value)
                if first >= 0x40:
                    table.add(name, value)
            fields.append(field)
            size += len(field[0]) + len(field[1]) + FIELD_BYTES
            if size > self._most_bytes:
                raise OversizedHeaderListError(f"more than {self._most_bytes} bytes")
        return fields

    def _entry(self, index: int) -> Field:
        if index < FIRST_DYNAMIC:
            field = STATIC[index]
            if field is not None:
                return field
        else:
            dynamic = self.table.dynamic_entries
            if index - FIRST_DYNAMIC < len(dynamic):
                return dynamic[index - FIRST_DYNAMIC]
        raise HPACKDecodingError(f"the table has no entry {index}")


def _integer(block: bytes, place: int, number: int) -> tuple[int, int]:
    """Decode an integer that continues after its prefix (5.1); return it and the offset after it.

    Args:
        block, place: where the integer continues.
        number: the value of the prefix, which is its maximum.
    """
    for shift in range(0, 7 * LONGEST_INTEGER, 7):
        part = block[place]
        place += 1
        number += (part & 0x7F) << shift
        if part < 0x80:
            return number, place
    raise HPACKDecodingError(f"an integer of more than {LONGEST_INTEGER} bytes")


def _string(block: bytes, place: int) -> tuple[bytes, int]:
    """Decode a string (5.2); return it and the offset after it."""
    first = block[place]
    length, place = first & 0x7F, place + 1
    if length == 0x7F:
        length, place = _integer(block, place, length)
    text = block[place : place + length]
    if len(text) != length:
        raise HPACKDecodingError("it ends within a string")
    return (_text(text) if first & 0x80 else text), place + length
