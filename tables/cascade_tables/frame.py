"""A table in memory as NumPy columns with NULL masks: the output of readers and input of the codec.

Five element types suffice for every modelled column: int64, float64, bool, object (text) and
datetime64[us]. The type a column had in its source is kept beside it and restored in the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.errors import DataError, UnknownColumn, listing, repeated, shown

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

DEFAULT_DTYPES = {"i": "int64", "f": "double", "b": "bool", "O": "string", "M": "timestamp[us]"}
# Decimal numbers that are converted to text at once.
DECIMAL_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class ColumnData:
    """One column.

    Attributes:
        values: [n] of int64, float64, bool, object (str) or datetime64[us]; a NULL's value is a
            placeholder.
        null: bool [n].
        dtype: the Arrow type to restore, such as "int8"; if empty, the values' own.
        counts: for categories of a sample, how often each occurs in the whole table; None: this is
            the whole table, or they were not counted.
    """

    values: NDArray[Any]
    null: NDArray[np.bool_]
    dtype: str = ""
    counts: Mapping[str, int] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def arrow_type(self) -> str:
        return self.dtype or DEFAULT_DTYPES[self.values.dtype.kind]

    def present(self) -> NDArray[Any]:
        """Return the values that are not NULL."""
        return self.values[~self.null]

    def to_list(self) -> list[Any]:
        """Return Python values, None for NULL."""
        return [
            None if null else value
            for value, null in zip(self.values.tolist(), self.null.tolist(), strict=True)
        ]


class Frame:
    """Named columns of equal length, in order."""

    def __init__(self, columns: Mapping[str, ColumnData]) -> None:
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            rows = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
            raise DataError(f"columns have different lengths: {rows}")
        self.columns = dict(columns)
        self._rows = next(iter(lengths.values()), 0)

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> ColumnData:
        if name not in self.columns:
            raise UnknownColumn(name, self.columns)
        return self.columns[name]

    def __repr__(self) -> str:
        return f"<Frame {len(self)} rows × {len(self.columns)} columns>"

    def select(self, names: Iterable[str]) -> Frame:
        """Return only these columns, in this order."""
        return Frame({name: self[name] for name in names})

    def take(self, rows: NDArray[Any]) -> Frame:
        """Return the rows at these indices, or where this mask is true."""
        return Frame(
            {n: ColumnData(c.values[rows], c.null[rows], c.dtype) for n, c in self.columns.items()}
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a dict per row, None for NULL."""
        lists = [column.to_list() for column in self.columns.values()]
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*lists, strict=True)]

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Frame:
        """Build a frame from dicts; a key that a row lacks is NULL.

        Raises:
            DataError: a column mixes types.
        """
        names = list(dict.fromkeys(name for row in rows for name in row))
        return cls({name: _from_python(name, [row.get(name) for row in rows]) for name in names})

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Frame:
        """Build a frame from a pyarrow Table.

        Raises:
            DataError: two columns share a name, or a column's type cannot be modelled.
        """
        names = table.column_names
        check_unique(names)
        return cls({name: column_from_arrow(name, table[name]) for name in names})

    @classmethod
    def from_pandas(cls, frame: pd.DataFrame) -> Frame:
        """Build a frame from a DataFrame; NaN, NaT, NA and None are NULL, the index is dropped.

        Raises:
            DataError: two columns share a name, or a column mixes types.
        """
        names = [str(name) for name in frame.columns]
        check_unique(names)
        pairs = zip(names, frame.columns, strict=True)
        return cls({name: _from_python(name, frame[label]) for name, label in pairs})

    def arrow_schema(self) -> pa.Schema:
        """Return the schema of `to_arrow`'s table without building it.

        It is right only if all values fit their types.
        """
        import pyarrow as pa

        return pa.schema(
            [(name, _arrow_type(column.arrow_type)) for name, column in self.columns.items()]
        )

    def to_arrow(self) -> pa.Table:
        """Return a pyarrow Table with the sources' types.

        If a type is too narrow for a value, such as a sum of given numbers, the column has 64 bits,
        or microseconds.
        """
        import pyarrow as pa

        arrays = {}
        for name, column in self.columns.items():
            values = column.values
            natural = DEFAULT_DTYPES[values.dtype.kind]
            array = pa.array(values, mask=column.null, type=_arrow_type(natural))
            arrays[name] = _as_source(array, _arrow_type(column.arrow_type))
        return pa.table(arrays)

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame; whole numbers and booleans with NULLs take pandas' nullable types."""
        import pandas as pd

        table = self.to_arrow()
        out: dict[str, Any] = {}
        for name in table.column_names:
            array = table[name]
            nullable = array.null_count > 0 and str(array.type).lstrip("u").startswith(
                ("int", "bool")
            )
            if nullable:
                kind = str(array.type)
                dtype = (
                    "boolean" if kind == "bool" else kind.replace("int", "Int").replace("uI", "UI")
                )
                out[name] = pd.array(array.to_pylist(), dtype=dtype)
            else:
                out[name] = array.to_pandas()
        return pd.DataFrame(out, index=pd.RangeIndex(len(self)))


def check_unique(names: Iterable[str], where: str = "") -> None:
    """Refuse duplicate names.

    Args:
        names: of a table's columns.
        where: prefix of the message.

    Raises:
        DataError: lists the duplicates.
    """
    twice = repeated(names)
    if twice:
        raise DataError(f"{where}duplicate column names: {listing(map(shown, twice))}")


def _arrow_type(name: str) -> Any:
    """Return the Arrow type with the given `str(type)`."""
    import pyarrow as pa

    if name.startswith("timestamp["):
        unit, _, zone = name[len("timestamp[") : -1].partition(", tz=")
        return pa.timestamp(unit, tz=zone or None)
    return pa.type_for_alias({"double": "float64", "float": "float32"}.get(name, name))


def _as_source(array: Any, wanted: Any) -> Any:
    """Convert values to their source's type, or to a type of their own that is wide enough."""
    import pyarrow as pa

    types = pa.types
    # A whole number in a source of reals may lie between two representable values.
    rounds = types.is_integer(array.type) and types.is_floating(wanted)
    try:
        return array.cast(wanted, safe=not rounds)
    except pa.ArrowInvalid:
        if types.is_integer(array.type) and types.is_integer(wanted):
            return array
        if types.is_timestamp(array.type):
            return array.cast(pa.timestamp("us", tz=getattr(wanted, "tz", None)))
        raise


def _from_python(name: str, values: Any) -> ColumnData:
    """Convert a list's or Series' values; NaN and None are NULL."""
    import pyarrow as pa

    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, UnicodeError) as exc:
        raise DataError(f"column {name!r} mixes types or cannot be read: {exc}") from exc
    return column_from_arrow(name, array)


def column_from_arrow(name: str, array: Any) -> ColumnData:
    """Convert a column of a pyarrow Table.

    Raises:
        DataError: its type cannot be modelled, or its values cannot be read.
    """
    import pyarrow as pa

    try:
        data = _converted(array)
    except (pa.ArrowException, UnicodeError) as exc:
        raise DataError(f"column {name!r} of type {array.type} cannot be read: {exc}") from exc
    if data is None:
        raise DataError(
            f"column {name!r} has type {array.type}; allowed: text, whole and real numbers, "
            "booleans, dates and date-times"
        )
    return data


def _converted(array: Any) -> ColumnData | None:
    """Convert an Arrow array to the element type that holds it; None: there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = array.type
    if types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    null = np.asarray(array.is_null())
    dtype = str(kind)
    if types.is_null(kind):
        return ColumnData(np.full(len(null), "", object), null, "string")
    if types.is_boolean(kind):
        return ColumnData(_numpy(array.fill_null(False)).astype(bool), null, "bool")
    if types.is_integer(kind):
        if types.is_uint64(kind) and len(array) and (pc.max(array).as_py() or 0) >= 2**63:
            return ColumnData(_numpy(array.fill_null(0)).astype(np.float64), null, "double")
        return ColumnData(_numpy(array.fill_null(0)).astype(np.int64), null, dtype)
    if types.is_decimal(kind):
        return ColumnData(_reals(array), null, "double")
    if types.is_floating(kind):
        values = _numpy(array.cast(pa.float64()).fill_null(0.0)).astype(np.float64)
        nan = np.isnan(values)
        return ColumnData(np.where(nan, 0.0, values), null | nan, dtype)
    if types.is_timestamp(kind) or types.is_date(kind):
        # Nanoseconds are truncated; overflow from coarser units is an error.
        finer = types.is_timestamp(kind) and kind.unit == "ns"
        micros = array.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=not finer)
        whole = _numpy(micros.cast(pa.int64()).fill_null(0))
        return ColumnData(whole.astype("datetime64[us]"), null, dtype)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return ColumnData(_texts(array), null, "string")
    return None


def _reals(array: Any) -> NDArray[np.float64]:
    """Return the real number nearest to each decimal number, 0 for NULL.

    Arrow's own cast multiplies by powers of ten, which turns 0.35 into 0.35000000000000003, a
    number without a last decimal. Its text parser rounds once.
    """
    import pyarrow as pa

    values = np.zeros(len(array), np.float64)
    for begin in range(0, len(array), DECIMAL_ROWS):
        part = array.slice(begin, DECIMAL_ROWS)
        reals = part.cast(pa.string()).cast(pa.float64()).fill_null(0.0)
        values[begin : begin + len(part)] = _numpy(reals)
    return values


def _texts(array: Any) -> NDArray[Any]:
    """Convert text to Python strings, "" for NULL; equal texts share one object."""
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = pc.dictionary_encode(pc.fill_null(array.cast(pa.large_string()), ""))
    distinct = np.array([*encoded.dictionary.to_pylist(), None], object)
    texts: NDArray[Any] = distinct[_numpy(encoded.indices)]
    return texts


def _numpy(array: Any) -> NDArray[Any]:
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values
