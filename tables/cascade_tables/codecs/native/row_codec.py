"""The compiled way of one row: from the wire to tokens, and from drawn tokens to the wire.

It knows values of the columns' own types that were learnt, NULL where a column may be NULL, and
tokens that stand for a value or a bin. Of all else it says so, by None, and the codec's own way
answers; what that answers is what is right, and the same. docs/adr/0020 has the figures.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from struct import pack
from typing import Any, NamedTuple

import numpy as np
from cascade_proto.cells import FIELDS, NULL_CELL, PLACEHOLDERS
from numpy.typing import NDArray

from cascade_tables.codecs.columns.binned_codec import BinnedCodec
from cascade_tables.codecs.columns.column_codec import ColumnCodec, Tokens
from cascade_tables.codecs.columns.listed_codec import ListedCodec
from cascade_tables.codecs.native.library import Argument, Library, load_library
from cascade_tables.codecs.native.wire_row import WireRow
from cascade_tables.schema import Kind, Schema

Inside = Callable[[Sequence[int]], NDArray[np.float64]]

# Fields of `Column` of synthesis.proto, and what stands before each of its parts.
NUMBER_OF_FIELD = {"doubles": 2, "integers": 3, "strings": 4, "booleans": 5}
NAME_TAG, STATES_TAG, VALUES_TAG = 0x0A, 0x32, 0x0A
LENGTHS = 2
# `how` of row_codec.c.
LISTED_TEXTS, LISTED_NUMBERS, BINNED = range(3)
OBSERVED_STATE = 0
# Bytes of a column's head, and of a number with what is around it, at most.
HEAD_BYTES, NUMBER_BYTES = 22, 24
# Of a uniform number.
REAL_BYTES = 8
# Of names that are asked for together, so many are remembered.
ASKED = 256


def _fields(*groups: tuple[Any, str]) -> list[tuple[str, Any]]:
    return [(name, kind) for kind, names in groups for name in names.split()]


class _Texts(ctypes.Structure):
    """`Texts` of row_codec.c."""

    _fields_ = _fields(
        (ctypes.c_void_p, "bytes begin"),
        (ctypes.c_int64, "count"),
        (ctypes.c_void_p, "slots"),
        (ctypes.c_int64, "mask"),
    )


class _Numbers(ctypes.Structure):
    """`Numbers` of row_codec.c."""

    _fields_ = _fields((ctypes.c_void_p, "values tokens"), (ctypes.c_int64, "count"))


class _Column(ctypes.Structure):
    """`Column` of row_codec.c."""

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
    """`Table` of row_codec.c."""

    _fields_ = _fields(
        (ctypes.c_int64, "columns slots"), (ctypes.c_void_p, "column"), (_Texts, "names")
    )


class NotThisTable(Exception):
    """The compiled code does not know such a column."""


class _Asked(NamedTuple):
    """Columns that are asked for together.

    Attributes:
        places: theirs, int32, and the address of the first.
        binned: those of them that are binned.
    """

    places: NDArray[np.int32]
    address: int
    binned: list[int]


class RowCodec:
    """Encodes and writes single rows of a table; may be called from several threads at once.

    Args:
        library: the compiled functions.
        schema: of the table.
        codecs: of its columns.
        first_slot: of each column.
        slots: T, tokens of a row.
        compared: columns, by place, whose numbers are wanted.

    Raises:
        NotThisTable: a column is none that the compiled code knows.
    """

    def __init__(
        self,
        library: Library,
        schema: Schema,
        codecs: Sequence[ColumnCodec],
        first_slot: Sequence[int] | NDArray[np.intp],
        slots: int,
        compared: Sequence[int] = (),
    ) -> None:
        self._library, self._schema, self._kept = library, schema, list[Any]()
        self._columns, self._slots = len(codecs), slots
        self._place = {name: place for place, name in enumerate(schema.names)}
        self._compared = [
            (place, np.float64 if schema.columns[place].kind is Kind.CONTINUOUS else np.int64)
            for place in sorted(compared)
        ]
        self._is_real = [column.kind is Kind.CONTINUOUS for column in schema.columns]
        self._is_binned = [isinstance(codec, BinnedCodec) for codec in codecs]
        self._most_bytes = 2
        columns = (_Column * len(codecs))()
        for place, codec in enumerate(codecs):
            columns[place] = self._column(codec, int(first_slot[place]))
        self._kept.append(columns)
        names = self._texts([name.encode() for name in schema.names])
        self._table = _Table(self._columns, self._slots, ctypes.addressof(columns), names)
        self._address = ctypes.addressof(self._table)
        # Where the parts of what is encoded begin.
        self._tokens_at = 8 * self._columns
        self._observed_at = self._tokens_at + 4 * self._slots
        self._states_at = self._observed_at + self._slots
        self._encoded_bytes = self._states_at + self._columns
        self._given_bytes = 2 * ctypes.sizeof(ctypes.c_void_p) * self._columns
        self._asked = lru_cache(ASKED)(self._places_of)

    def encode(
        self, row: WireRow
    ) -> tuple[Tokens, NDArray[np.bool_], Mapping[int, float | int]] | None:
        """A caller's row as tokens; None: it is not for this to say what is made of it.

        Returns:
            int32 and bool [1, T], tokens and which are observed; and of the columns that were to be
            compared, by place, those numbers that are given.
        """
        out = bytearray(self._encoded_bytes)
        message = row.message
        if self._library.encode(
            *(self._address, message, len(message), row.begin, row.size),
            Argument.from_buffer(out),
        ):
            return None
        shape = 1, self._slots
        tokens = np.ndarray(shape, np.int32, out, self._tokens_at)
        observed = np.ndarray(shape, np.bool_, out, self._observed_at)
        numbers: dict[int, float | int] = {}
        for place, dtype in self._compared:
            if out[self._states_at + place] == OBSERVED_STATE:
                numbers[place] = np.frombuffer(out, dtype, 1, 8 * place).item()
        return tokens, observed, numbers

    def write(
        self,
        tokens: Tokens,
        inside: Inside,
        names: Sequence[str],
        row: WireRow,
        computed: Mapping[int, float | int] | None = None,
    ) -> bytes | None:
        """A drawn row as `Rows` of the wire: what the caller gave as it came, and of all else what
        tokens stand for; None: it is not for this to say.

        Args:
            tokens: int32 [T].
            inside: where inside of its bin each number is; asked only of columns that are binned.
            names: columns, in the order in which they are wanted.
            row: what was given.
            computed: numbers that stand in place of what tokens say, by place, of columns that were
                not given; None: a row in which any may follow from others is not for this.

        Raises:
            UnknownColumn: the schema has no such column.
            ValueError: there are not T tokens.
        """
        if tokens.shape != (self._slots,):
            raise ValueError(f"a row has {self._slots} tokens, not {tokens.shape}")
        asked, address, binned = self._asked(tuple(names))
        uniform = inside(binned)[:, 0].astype(np.float64).tobytes() if binned else b""
        places, bits, count = b"", b"", -1
        if computed is not None:
            count = len(computed)
            places = pack(f"{count}i", *computed)
            kinds = ("d" if self._is_real[place] else "q" for place in computed)
            bits = pack("".join(kinds), *computed.values())
        message = row.message
        size = self._given_bytes + self._most_bytes + len(message)
        out = bytearray(size)
        if tokens.dtype != np.int32 or not tokens.flags.carray:
            tokens = np.array(tokens, np.int32)
        written = self._library.write(
            *(self._address, Argument.from_buffer(tokens)),
            *(uniform, len(uniform) // REAL_BYTES, address, len(asked)),
            *(message, len(message), row.begin, row.size),
            *(places, bits, count),
            *(Argument.from_buffer(out), size),
        )
        if written < 0:
            return None
        return bytes(memoryview(out)[self._given_bytes : self._given_bytes + written])

    def _places_of(self, names: tuple[str, ...]) -> _Asked:
        for name in names:
            if name not in self._place:
                raise self._schema.unknown(name)
        places = np.array([self._place[name] for name in names], np.int32)
        binned = [place for place in places.tolist() if self._is_binned[place]]
        return _Asked(places, int(places.ctypes.data), binned)

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
        self._most_bytes += (
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
        """Numbers with tokens of their own; of equal ones none would be left out."""
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
        """Keeps bytes; their address, and that of where each begins."""
        begin = [0, *accumulate(len(text) for text in texts)]
        return self._bytes(b"".join(texts)), self._array(begin, np.int64)

    def _bytes(self, content: bytes) -> int:
        return self._array(np.frombuffer(content + b"\0", np.uint8), np.uint8)

    def _array(self, values: Any, dtype: Any) -> int:
        """Keeps a copy of numbers; its address."""
        kept = np.array(values, dtype, order="C")
        self._kept.append(kept)
        return int(kept.ctypes.data)


class Compiled:
    """A table's `RowCodec`, made when it is first asked for; arguments are those of that."""

    def __init__(
        self,
        schema: Schema,
        codecs: Sequence[ColumnCodec],
        first_slot: Sequence[int] | NDArray[np.intp],
        slots: int,
        compared: Sequence[int] = (),
    ) -> None:
        self._of = schema, codecs, first_slot, slots, compared

    @cached_property
    def rows(self) -> RowCodec | None:
        """None where it was not built, or does not know such a table."""
        library = load_library()
        if isinstance(library, str):
            return None
        try:
            return RowCodec(library, *self._of)
        except NotThisTable:
            return None


def _dtype(kind: Kind) -> Any:
    return np.float64 if kind is Kind.CONTINUOUS else np.int64


def _exact(values: Sequence[Any], dtype: Any) -> NDArray[Any]:
    """Numbers in an element type that holds each of them.

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
    """A field of a message that says how many bytes it has."""
    return bytes([tag]) + _varint(len(content)) + content


def _written(field: str, value: Any) -> bytes:
    """A cell as `Column` has it, without the name; None: NULL."""
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
