"""Compiled conversion of one row: from the wire to tokens, and from drawn tokens to the wire.

It supports learnt values of the columns' own types, NULL in nullable columns, and tokens that stand
for a value or a bin. For everything else it returns None, and the codec's Python path is used; both
give the same result. docs/adr/0020 has the figures.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from struct import Struct, pack
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.binned_codec import BinnedCodec
from cascade_tables.codecs.columns.column_codec import ColumnCodec, Tokens
from cascade_tables.codecs.layout import WholeMarks
from cascade_tables.codecs.native.compiled_table import CompiledTable, NotThisTable
from cascade_tables.codecs.native.library import Argument, Library, load_library
from cascade_tables.codecs.native.wire_row import WireRow
from cascade_tables.schema import Kind, Schema

Inside = Callable[[Sequence[int]], NDArray[np.float64]]

OBSERVED_STATE = 0
# Size of a uniform number.
REAL_BYTES = 8
# Most memory for the values of all draws of a row, which is allocated before they are written. A
# caller's long text is in each draw, and could require any amount: beyond this limit, the codec's
# Python path writes the answer.
MOST_DRAWN_BYTES = 2**22
# Number of cached combinations of requested columns.
ASKED = 256


class _Asked(NamedTuple):
    """A combination of requested columns.

    Attributes:
        places: their indices, int32, and the address of the first.
        binned: those of them that are binned.
    """

    places: NDArray[np.int32]
    address: int
    binned: list[int]


class RowCodec:
    """Encoder and writer of single rows of a table; thread-safe.

    Args:
        library: the compiled functions.
        schema: of the table.
        codecs: of its columns.
        first_slot: of each column.
        slots: T, tokens per row.
        marks: the relations to check among given numbers; None: it does not check any.
        compared: indices of columns whose numbers are then returned.

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
        compared: Sequence[int] = (),
    ) -> None:
        self._library, self._schema = library, schema
        self._columns, self._slots = len(codecs), slots
        self._place = {name: place for place, name in enumerate(schema.names)}
        self._is_real = [column.kind is Kind.CONTINUOUS for column in schema.columns]
        # Numbers returned by the compiled code: one per column, whether meaningful or not.
        self._numbers = Struct("=" + "".join("d" if is_real else "q" for is_real in self._is_real))
        self._is_binned = [isinstance(codec, BinnedCodec) for codec in codecs]
        self._table = CompiledTable(library, schema, codecs, first_slot, slots, marks)
        self._compared = [] if self._table.marks_given else sorted(compared)
        self._address, self._most_bytes = self._table.address, self._table.most_bytes
        # Offsets of the parts of the encoded result.
        self._tokens_at = 8 * self._columns
        self._observed_at = self._tokens_at + 4 * self._slots
        self._states_at = self._observed_at + self._slots
        self._encoded_bytes = self._states_at + self._columns
        self._given_bytes = 2 * ctypes.sizeof(ctypes.c_void_p) * self._columns
        self._asked = lru_cache(ASKED)(self._places_of)

    def encode(
        self, row: WireRow
    ) -> tuple[Tokens, NDArray[np.bool_], Mapping[int, float | int]] | None:
        """Encode a caller's row as tokens; None: the Python path must handle it.

        Returns:
            int32 and bool [1, T], tokens and which are observed; and by index, the given numbers
            whose relations it did not check.
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
        if not self._compared:
            return tokens, observed, {}
        # All at once: an array a number takes longer than the rest of this function.
        numbers, states = self._numbers.unpack_from(out), out[self._states_at :]
        given = {
            place: numbers[place] for place in self._compared if states[place] == OBSERVED_STATE
        }
        return tokens, observed, given

    def write(
        self,
        tokens: Tokens,
        inside: Inside,
        names: Sequence[str],
        row: WireRow,
        computed: Mapping[int, float | int] | None = None,
    ) -> bytes | None:
        """Encode a drawn row as `Rows` for the wire: given values as they came, others from their
        tokens.

        Returns None if the Python path must handle it.

        Args:
            tokens: int32 [T].
            inside: chooses the place of each number inside its bin; called only for binned columns.
            names: columns, in output order.
            row: the given values.
            computed: numbers of columns that were not given and follow from others, by index, which
                replace those of the tokens. None: nothing was computed, so a row with a mark must
                take the Python path.

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

    def write_draws(
        self,
        tokens: Tokens,
        inside: Inside,
        names: Sequence[str],
        row: WireRow,
        computed: Mapping[tuple[int, int], float | int] | None = None,
    ) -> bytes | None:
        """Encode several draws of one row as `write` does, column after column.

        Args:
            tokens: int32 [n, T].
            inside: as for `write`, float64 [b, n] for b columns.
            names, row: see `write`.
            computed: as for `write`, by the column's index and the draw.

        Raises:
            UnknownColumn: the schema has no such column.
            ValueError: there are no draws, or not T tokens of each.
        """
        rows = len(tokens)
        if rows < 1 or tokens.shape[1:] != (self._slots,):
            raise ValueError(f"draws of a row have {self._slots} tokens each, not {tokens.shape}")
        asked, address, binned = self._asked(tuple(names))
        uniform = np.ascontiguousarray(inside(binned) if binned else (), np.float64).tobytes()
        columns, draws, bits, count = b"", b"", b"", -1
        if computed is not None:
            count, ordered = len(computed), sorted(computed)
            columns = pack(f"{count}i", *(place for place, _ in ordered))
            draws = pack(f"{count}i", *(draw for _, draw in ordered))
            kinds = ("d" if self._is_real[place] else "q" for place, _ in ordered)
            bits = pack("".join(kinds), *(computed[each] for each in ordered))
        message = row.message
        # A draw's values take no more space than a whole row of learnt values plus the caller's
        # own.
        most = rows * (self._most_bytes + len(message))
        if most > MOST_DRAWN_BYTES:
            return None
        scratch = bytearray(rows + most)
        size = self._given_bytes + self._most_bytes + most
        out = bytearray(size)
        tokens = np.ascontiguousarray(tokens, np.int32)
        if not tokens.flags.writeable:
            tokens = tokens.copy()
        written = self._library.write_draws(
            *(self._address, rows, Argument.from_buffer(tokens)),
            *(uniform, len(uniform) // REAL_BYTES, address, len(asked)),
            *(message, len(message), row.begin, row.size),
            *(columns, draws, bits, count),
            *(Argument.from_buffer(scratch), len(scratch)),
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


class Compiled:
    """A table's `RowCodec`, created on first use; the arguments are those of `RowCodec`."""

    def __init__(
        self,
        schema: Schema,
        codecs: Sequence[ColumnCodec],
        first_slot: Sequence[int] | NDArray[np.intp],
        slots: int,
        marks: WholeMarks | None = None,
        compared: Sequence[int] = (),
    ) -> None:
        self._of = schema, codecs, first_slot, slots, marks, compared

    @cached_property
    def rows(self) -> RowCodec | None:
        """None if the library was not built, or does not support such a table."""
        library = load_library()
        if isinstance(library, str):
            return None
        try:
            return RowCodec(library, *self._of)
        except NotThisTable:
            return None
