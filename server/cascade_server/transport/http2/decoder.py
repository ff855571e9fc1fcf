"""Header blocks to fields (RFC 7541), in a fifth of the time that a general decoder takes, or less.

A server that has too much to do refuses calls by their heads, and what a refusal costs decides how
many it can still answer. hpack's `Decoder` calls some twelve functions a field and logs each; this
one is a loop. The table of headers and the Huffman code are hpack's, and so is every meaning: tests
hold the two decoders side by side. See docs/adr/0011.
"""

from __future__ import annotations

from functools import lru_cache

from hpack import HPACKDecodingError, InvalidTableSizeError, OversizedHeaderListError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

Field = tuple[bytes, bytes]

STATIC = (None, *HeaderTable.STATIC_TABLE)
FIRST_DYNAMIC = len(STATIC)
# What is counted for a field beside its bytes (RFC 7541, 4.1; RFC 9113, 6.5.2).
FIELD_BYTES = 32
# Bytes of an integer: more are not needed for any that is allowed.
LONGEST_INTEGER = 5
# Bytes of a Huffman code whose meaning is remembered, and how many are.
SHORT_CODE, MOST_CODES = 64, 1024


@lru_cache(maxsize=MOST_CODES)
def _short_text(code: bytes) -> bytes:
    return decode_huffman(code)


def _text(code: bytes) -> bytes:
    """What a Huffman code stands for; callers say the same few things again and again."""
    return _short_text(code) if len(code) <= SHORT_CODE else decode_huffman(code)


class BlockDecoder:
    """Decodes the header blocks of one connection, in the order in which they come.

    Args:
        most_bytes: of a list of headers, as HTTP/2 counts them; a larger one is not decoded to its
            end, so that the table is not what the peer thinks it is.
        varying: the name of a field whose value is another each time.

    Attributes:
        table: of headers that the peer has had remembered.
        spelled: where the last block has the value of the varying field, if it is spelled out as it
            is and no table is to remember it; 0: it is not. One that is to be remembered may leave
            the table as it is where it does not fit, and another that is shorter may fit.
    """

    def __init__(self, most_bytes: int, varying: bytes = b"") -> None:
        self._most_bytes, self._varying = most_bytes, varying
        self.spelled = 0
        self.table = HeaderTable()
        self._largest_table = self.table.maxsize

    def decode(self, block: bytes) -> list[Field]:
        """The fields that a block stands for.

        Raises:
            HPACKDecodingError: it is no block.
            OversizedHeaderListError: it stands for more than is allowed.
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
            if first >= 0x80:  # a field of the table (6.1)
                index = first & 0x7F
                if index == 0x7F:
                    index, place = _integer(block, place, index)
                field = self._entry(index)
            elif 0x20 <= first < 0x40:  # an update of the table's size (6.3)
                if fields:
                    raise HPACKDecodingError("an update of the table's size after a field")
                wanted = first & 0x1F
                if wanted == 0x1F:
                    wanted, place = _integer(block, place, wanted)
                if wanted > self._largest_table:
                    raise InvalidTableSizeError(f"a table of {wanted} bytes")
                table.maxsize = wanted
                continue
            else:  # a field that is spelled out (6.2)
                mask = 0x3F if first >= 0x40 else 0x0F
                index = first & mask
                if not index:
                    name, place = _string(block, place)
                elif index < mask:
                    name = self._entry(index)[0]
                else:
                    index, place = _integer(block, place, index)
                    name = self._entry(index)[0]
                # The value, as `_string` has it: most of the time goes here.
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
    """An integer that goes on after its prefix (5.1), and where what follows it begins.

    Args:
        block, place: where it goes on.
        number: that the prefix holds, the largest that it can.
    """
    for shift in range(0, 7 * LONGEST_INTEGER, 7):
        part = block[place]
        place += 1
        number += (part & 0x7F) << shift
        if part < 0x80:
            return number, place
    raise HPACKDecodingError(f"an integer of more than {LONGEST_INTEGER} bytes")


def _string(block: bytes, place: int) -> tuple[bytes, int]:
    """A string (5.2), and where what follows it begins."""
    first = block[place]
    length, place = first & 0x7F, place + 1
    if length == 0x7F:
        length, place = _integer(block, place, length)
    text = block[place : place + length]
    if len(text) != length:
        raise HPACKDecodingError("it ends within a string")
    return (_text(text) if first & 0x80 else text), place + length
