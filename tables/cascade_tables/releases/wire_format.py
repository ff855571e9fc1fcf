"""Protobuf's wire format, read without a schema: a message's fields, one after another.

Servers use it because the `onnx` package, which knows a model's messages, is not installed there.
See https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = range(6)


class Malformed(ValueError):
    """Bytes that are no protobuf message."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: its number.
        value: of an integer; 0 for all others.
        begin, end: range of the content of a length-delimited field; equal for all others.
    """

    number: int
    value: int
    begin: int
    end: int


def fields(data: bytes, begin: int, end: int) -> Iterator[Field]:
    """Yield the fields of a message in [begin, end) of some bytes; contents are not copied.

    Raises:
        Malformed: it ends inside a field, or has one that protobuf does not know.
    """
    offset, groups = begin, 0
    while offset < end:
        tag, offset = _varint(data, offset, end)
        number, wire_type = tag >> 3, tag & 7
        value, start = 0, offset
        if number == 0:
            raise Malformed("it has a field of number 0")
        if wire_type == VARINT:
            value, offset = _varint(data, offset, end)
            start = offset
        elif wire_type == LENGTH:
            length, start = _varint(data, offset, end)
            offset = start + length
        elif wire_type in (FIXED64, FIXED32):
            offset += 8 if wire_type == FIXED64 else 4
            start = offset
        elif wire_type == START_GROUP:
            groups += 1
        elif wire_type == END_GROUP and groups:
            groups -= 1
        else:
            raise Malformed(f"it has a field of wire type {wire_type}")
        if offset > end:
            raise Malformed("it ends inside a field")
        # ONNX has no groups: fields inside of one are not the message's own.
        if not groups:
            yield Field(number, value, start, offset)
    if groups:
        raise Malformed("it ends inside a group")


def _varint(data: bytes, offset: int, end: int) -> tuple[int, int]:
    """Return a number of at most 64 bits, and its end."""
    value = 0
    for shift in range(0, 70, 7):
        if offset >= end:
            raise Malformed("it ends inside a number")
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), offset
    raise Malformed("it has a number of more than 64 bits")
