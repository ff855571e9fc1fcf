"""Memory layout of a table for row_codec.c: its columns' values, edges and texts."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from struct import pack
from typing import Any

import numpy as np
from cascade_proto.cells import FIELDS, NULL_CELL, PLACEHOLDERS
from numpy.typing import NDArray

from cascade_tables.codecs.columns.binned_codec import BinnedCodec
from cascade_tables.codecs.columns.column_codec import ColumnCodec
from cascade_tables.codecs.columns.listed_codec import ListedCodec
from cascade_tables.codecs.layout import WholeMarks
from cascade_tables.codecs.native.library import Library
from cascade_tables.schema import Kind, Schema

# Fields of `Column` in synthesis.proto, and the tag before each of their parts.
NUMBER_OF_FIELD = {"doubles": 2, "integers": 3, "strings": 4, "booleans": 5}
NAME_TAG, STATES_TAG, VALUES_TAG = 0x0A, 0x32, 0x0A
LENGTHS = 2
# `how` of row_codec.c.
LISTED_TEXTS, LISTED_NUMBERS, BINNED = range(3)
# As in row_marks.h.
MOST_COUNTED, MOST_PARTS = 64, 4
# Most bytes of a column's head, and of a number with its framing.
HEAD_BYTES, NUMBER_BYTES = 22, 24


def _fields(*groups: tuple[Any, str]) -> list[tuple[str, Any]]:
    return [(name, kind) for kind, names in groups for name in names.split()]


class _Texts(ctypes.Structure):
    """The struct `Texts` of row_codec.c, field by field."""

    _fields_ = _fields(
        (ctypes.c_void_p, "bytes begin"),
        (ctypes.c_int64, "count"),
        (ctypes.c_void_p, "slots"),
        (ctypes.c_int64, "mask"),
    )


class _Numbers(ctypes.Structure):
    """The struct `Numbers` of row_codec.c, field by field."""

    _fields_ = _fields((ctypes.c_void_p, "values tokens"), (ctypes.c_int64, "count"))


class _Column(ctypes.Structure):
    """The struct `Column` of row_codec.c, field by field."""

    _fields_ = _fields(
        (ctypes.c_int32, "how field slot size fine_size null_tokens bins_from marks_from"),
        (_Texts, "texts"),
        (ctypes.c_void_p, "text_tokens"),
        (_Numbers, "listed"),
        (ctypes.c_void_p, "edges"),
        (ctypes.c_int64, "edge_count"),
        (ctypes.c_double, "low high"),
        (ctypes.c_int64, "whole_low whole_high"),
        (ctypes.c_void_p, "pair_low pair_high pair_count"),
        (ctypes.c_uint64, "step"),
        (ctypes.c_double, "scale"),
        (ctypes.c_void_p, "name"),
        (ctypes.c_int64, "name_bytes"),
        (ctypes.c_void_p, "written written_begin"),
        (ctypes.c_int64, "written_tokens"),
    )


class _Table(ctypes.Structure):
    """The struct `Table` of row_codec.c, field by field."""

    _fields_ = _fields(
        (ctypes.c_int64, "columns slots"),
        (ctypes.c_void_p, "column"),
        (_Texts, "names"),
        (ctypes.c_void_p, "counted"),
        (ctypes.c_int64, "counted_count"),
        (ctypes.c_void_p, "marks"),
        (ctypes.c_int64, "mark_count"),
    )


class _Counted(ctypes.Structure):
    """The struct `Counted` of row_marks.h, field by field."""

    _fields_ = _fields((ctypes.c_int32, "place zero_counts"), (ctypes.c_int64, "step"))


class _Mark(ctypes.Structure):
    """The struct `Mark` of row_marks.h, field by field."""

    _fields_ = _fields(
        (ctypes.c_int32, "slot token parts rough_count"), (ctypes.c_void_p, "part sign rough")
    )


class NotThisTable(Exception):
    """The compiled code does not support a column."""


class CompiledTable:
    """A table laid out for the compiled functions; owns the memory.

    Attributes:
        address: of the `Table`.
        most_bytes: of a row's `Rows`, without the caller's values.
        marks_given: whether relations that hold among given numbers are marked.

    Args:
        library: the compiled functions.
        schema: of the table.
        codecs: of its columns.
        first_slot: of each column.
        slots: T, tokens per row.
        marks: the relations to check among given numbers.

    Raises:
        NotThisTable: the compiled code does not support a column.
    """

    def __init__(
        self,
        library: Library,
        schema: Schema,
        codecs: Sequence[ColumnCodec],
        first_slot: Sequence[int] | NDArray[np.intp],
        slots: int,
        marks: WholeMarks | None = None,
    ) -> None:
        self._library, self._kept = library, list[Any]()
        self.most_bytes = 2
        columns = (_Column * len(codecs))()
        for place, codec in enumerate(codecs):
            columns[place] = self._column(codec, int(first_slot[place]))
        self._kept.append(columns)
        names = self._texts([name.encode() for name in schema.names])
        self._table = _Table(len(codecs), slots, ctypes.addressof(columns), names)
        self.marks_given = marks is not None and self._keep_marks(marks)
        self.address = ctypes.addressof(self._table)

    def _keep_marks(self, marks: WholeMarks) -> bool:
        """Lay out the relations; return whether the compiled code supports them."""
        counted = (_Counted * len(marks.counted))(*(_Counted(*each) for each in marks.counted))
        kept = (_Mark * len(marks.marks))()
        for index, each in enumerate(marks.marks):
            few = len(each.parts) <= MOST_PARTS
            # The code recognises a mark by its lack of a rough position.
            if not few or each.mark.token < len(each.mark.rough):
                return False
            kept[index] = _Mark(
                *(each.mark.slot, each.mark.token, len(each.parts), len(each.mark.rough)),
                self._array(each.parts, np.int32),
                self._array(each.signs, np.int32),
                self._array(each.mark.rough, np.int32),
            )
        if len(counted) > MOST_COUNTED:
            return False
        self._kept += (counted, kept)
        self._table.counted, self._table.counted_count = ctypes.addressof(counted), len(counted)
        self._table.marks, self._table.mark_count = ctypes.addressof(kept), len(kept)
        return True

    def _column(self, codec: ColumnCodec, slot: int) -> _Column:
        column, kind = codec.column, codec.column.kind
        field = FIELDS[kind]
        out = _Column(field=NUMBER_OF_FIELD[field], slot=slot, null_tokens=int(column.nullable))
        out.size, out.fine_size = (*codec.sizes, 0)[:2]
        if isinstance(codec, ListedCodec):
            self._fill_listed(out, codec)
            said = codec.said
        elif isinstance(codec, BinnedCodec):
            self._fill_binned(out, codec)
            said = [None] * out.null_tokens
        else:
            raise NotThisTable(f"column {column.name!r} has a codec of its own")
        name = _part(NAME_TAG, column.name.encode())
        written = [_written(field, value) for value in said]
        out.name, out.name_bytes = self._bytes(name), len(name)
        out.written, out.written_begin = self._one_after_another(written)
        out.written_tokens = len(written)
        self.most_bytes += (
            HEAD_BYTES + len(name) + max([NUMBER_BYTES, *(len(each) for each in written)])
        )
        return out

    def _fill_listed(self, out: _Column, codec: ListedCodec) -> None:
        kind = codec.column.kind
        if kind is Kind.CATEGORICAL:
            out.how = LISTED_TEXTS
            out.texts = self._texts([_utf8(label) for label in codec.labels])
            out.text_tokens = self._array(codec.label_tokens, np.int32)
            return
        out.how = LISTED_NUMBERS
        if kind is Kind.BOOLEAN:
            out.listed = self._numbers([0, 1], codec.label_tokens, np.int64)
            return
        tokens = [out.null_tokens + place for place in range(len(codec.values))]
        out.listed = self._numbers(codec.values, tokens, _dtype(kind))

    def _fill_binned(self, out: _Column, codec: BinnedCodec) -> None:
        column, pairs = codec.column, codec.pairs
        dtype = _dtype(column.kind)
        out.how, out.bins_from, out.marks_from = BINNED, codec.bins_from, codec.marks_from
        masses = {value: out.null_tokens + place for place, value in enumerate(column.point_masses)}
        ordered = sorted(masses)
        out.listed = self._numbers(ordered, [masses[value] for value in ordered], dtype)
        edges = _exact(codec.edges, dtype)
        if (edges[1:] < edges[:-1]).any():
            raise NotThisTable(f"column {column.name!r} has edges that do not increase")
        out.edges, out.edge_count = self._array(edges, dtype), len(edges)
        low, high = column.minimum, column.maximum
        out.low, out.high, out.whole_low, out.whole_high = math.inf, -math.inf, 1, 0
        if low is not None and high is not None:
            bounds = _exact([low, high], dtype).tolist()
            if dtype is np.float64:
                out.low, out.high = bounds
            else:
                out.whole_low, out.whole_high = bounds
        out.pair_low = self._array(pairs.low, dtype)
        out.pair_high = self._array(pairs.high, np.float64)
        out.pair_count = self._array(pairs.count, np.uint64)
        out.step, out.scale = int(pairs.step), float(pairs.scale)

    def _numbers(self, values: Sequence[Any], tokens: Sequence[int], dtype: Any) -> _Numbers:
        """Lay out numbers with their own tokens, which must increase strictly: a search returns any
        of equal numbers, and it might not be the one whose token Python uses.
        """
        exact = _exact(values, dtype)
        if any(not before < after for before, after in pairwise(exact.tolist())):
            raise NotThisTable("numbers that have tokens do not increase")
        return _Numbers(self._array(exact, dtype), self._array(tokens, np.int32), len(exact))

    def _texts(self, texts: Sequence[bytes]) -> _Texts:
        if len(set(texts)) < len(texts):
            raise NotThisTable("two texts are the same")
        mask = (1 << (2 * len(texts)).bit_length()) - 1
        slots = np.full(mask + 1, -1, np.int32)
        kept, begin = self._one_after_another(texts)
        out = _Texts(kept, begin, len(texts), self._array(slots, np.int32), mask)
        self._library.index(ctypes.addressof(out))
        return out

    def _one_after_another(self, texts: Sequence[bytes]) -> tuple[int, int]:
        """Store bytes; return their address, and that of the array of their offsets."""
        begin = [0, *accumulate(len(text) for text in texts)]
        return self._bytes(b"".join(texts)), self._array(begin, np.int64)

    def _bytes(self, content: bytes) -> int:
        return self._array(np.frombuffer(content + b"\0", np.uint8), np.uint8)

    def _array(self, values: Any, dtype: Any) -> int:
        """Store a copy of numbers; return its address."""
        kept = np.array(values, dtype, order="C")
        self._kept.append(kept)
        return int(kept.ctypes.data)


def _dtype(kind: Kind) -> Any:
    return np.float64 if kind is Kind.CONTINUOUS else np.int64


def _exact(values: Sequence[Any], dtype: Any) -> NDArray[Any]:
    """Convert numbers to an element type that holds each of them exactly.

    Raises:
        NotThisTable: it does not.
    """
    try:
        found = np.array([dtype(value) for value in values], dtype)
    except (OverflowError, TypeError, ValueError) as exc:
        raise NotThisTable(str(exc)) from exc
    if found.tolist() != list(values):
        raise NotThisTable("some number is none of the column's")
    return found


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise NotThisTable(str(exc)) from exc


def _varint(value: int) -> bytes:
    value %= 2**64
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _part(tag: int, content: bytes) -> bytes:
    """Encode a length-delimited field of a message."""
    return bytes([tag]) + _varint(len(content)) + content


def _written(field: str, value: Any) -> bytes:
    """Encode a cell as `Column` has it, without the name; None: NULL."""
    states = b"" if value is not None else _part(STATES_TAG, NULL_CELL)
    if value is None:
        value = PLACEHOLDERS[field]
    if field == "doubles":
        one = pack("<d", value)
    elif field == "strings":
        one = _utf8(value)
    else:
        one = _varint(int(value))
    return _part(NUMBER_OF_FIELD[field] << 3 | LENGTHS, _part(VALUES_TAG, one)) + states
