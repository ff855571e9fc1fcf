"""Rows the caller holds, in any of four forms, read into columns of observed values.

pandas and pyarrow are never imported here: a value of one of their types can only exist where the
caller has imported them already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from cascade_proto.cells import (
    ABSENT_CELL,
    ABSENT_STATE,
    NULL_CELL,
    NULL_STATE,
    OBSERVED_CELL,
    OBSERVED_STATE,
)

from cascade_client.errors import InvalidRequest

OBSERVED, NULL, ABSENT = OBSERVED_STATE, NULL_STATE, ABSENT_STATE

Nulls = Literal["observed", "fill"]
NULLS: tuple[Nulls, ...] = ("observed", "fill")

PLAIN_TYPES = frozenset({bool, int, float, str, datetime})


class _Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()
"""Marks a cell of a dict as absent, like leaving its key out: it is to be synthesised."""


# What a value is that stands for none: NaN, NaT or NA.
EMPTY: Final = object()


class Form(StrEnum):
    """What the caller's rows are held in, and so what the answer's are."""

    ROW = "row"
    ROWS = "rows"
    PANDAS = "pandas"
    ARROW = "arrow"


class Cells(NamedTuple):
    """One column of a request; a tuple, since a real-time call makes one a column.

    Attributes:
        name: the column's name.
        observed: its observed values in row order, each a bool, int, float, str or datetime.
        states: one byte a row: OBSERVED, NULL or ABSENT.
    """

    name: str
    observed: list[Any]
    states: bytes


@dataclass(frozen=True)
class Given:
    """What a caller asks to have completed.

    Attributes:
        cells: the columns with anything known about them.
        count: rows.
        form: what they were held in.
        index: the labels of a DataFrame's rows; None for the other forms.
    """

    cells: tuple[Cells, ...]
    count: int
    form: Form
    index: Any = None


def read(data: object) -> Given:
    """Read a dict, a list of dicts, a pandas DataFrame or a pyarrow Table.

    What an empty cell means, its column decides; see `pack`.

    Args:
        data: the rows. In dicts a key left out, or `MISSING`, is absent. In DataFrames and Tables
            a column left out is absent. None, NaN, NaT, NA and a null of Arrow are NULL.

    Raises:
        InvalidRequest: another type; no rows; a column name that is not a string or comes
            twice; a value that has no place in a table.
    """
    if isinstance(data, Mapping):
        return Given(_from_rows([data]), 1, Form.ROW)
    pandas, pyarrow = sys.modules.get("pandas"), sys.modules.get("pyarrow")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        given = Given(_from_pandas(data), len(data), Form.PANDAS, data.index)
    elif pyarrow is not None and isinstance(data, pyarrow.Table):
        given = Given(_from_arrow(data), data.num_rows, Form.ARROW)
    elif isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        given = Given(_from_rows(data), len(data), Form.ROWS)
    else:
        raise InvalidRequest(
            f"data is a {type(data).__name__}; a dict, a list of dicts, a pandas DataFrame or "
            "a pyarrow Table is allowed"
        )
    if given.count == 0:
        raise InvalidRequest("data has no rows; at least one is needed")
    names = [cells.name for cells in given.cells]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"data has two columns {twice!r}; one of each name is allowed")
    return given


def _from_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[Cells, ...]:
    if len(rows) == 1:
        return tuple([_cell(name, value) for name, value in rows[0].items()])
    names = dict.fromkeys(name for row in rows for name in row)
    return tuple(_cells(name, [row.get(name, MISSING) for row in rows]) for name in names)


def _from_pandas(frame: Any) -> tuple[Cells, ...]:
    columns = []
    for position, name in enumerate(frame.columns):
        series = frame.iloc[:, position]
        empty = series.isna().to_numpy(dtype=bool)
        known = series[~empty]
        if str(known.dtype).startswith("datetime64"):
            # Not tolist: its Timestamps keep nanoseconds, which the wire does not have.
            utc = known if known.dt.tz is None else known.dt.tz_convert("UTC").dt.tz_localize(None)
            values = utc.to_numpy(dtype="datetime64[us]").tolist()
        else:
            values = known.tolist()
        columns.append(_with_holes(name, values, empty))
    return tuple(columns)


def _from_arrow(table: Any) -> tuple[Cells, ...]:
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        empty = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
        known = column.filter(column.is_valid())
        # A nanosecond time becomes a pandas Timestamp where pandas is there; microseconds do not.
        if str(known.type).startswith("timestamp[ns"):
            known = known.cast(str(known.type).replace("ns", "us", 1), safe=False)
        values = [value for value in known.to_pylist() if value == value]  # without NaN
        columns.append(_with_holes(name, values, empty))
    return tuple(columns)


def _with_holes(name: Any, values: list[Any], empty: Any) -> Cells:
    states = np.where(empty, np.uint8(NULL), np.uint8(OBSERVED)).tobytes()
    return Cells(_name(name), [_plain(name, value) for value in values], states)


def _cells(name: str, values: list[Any]) -> Cells:
    states = bytearray(len(values))
    observed = []
    for row, value in enumerate(values):
        if value is MISSING:
            states[row] = ABSENT
        elif value is None or (plain := _plain(name, value)) is EMPTY:
            states[row] = NULL
        else:
            observed.append(plain)
    return Cells(_name(name), observed, bytes(states))


def _cell(name: str, value: Any) -> Cells:
    if value is MISSING:
        return Cells(_name(name), [], ABSENT_CELL)
    if value is None or (plain := _plain(name, value)) is EMPTY:
        return Cells(_name(name), [], NULL_CELL)
    return Cells(_name(name), [plain], OBSERVED_CELL)


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise InvalidRequest(f"column name {name!r} is a {type(name).__name__}; a str is allowed")
    return name


def _plain(name: str, value: Any) -> Any:
    """The value as a bool, int, float, str or datetime, or EMPTY."""
    if type(value) in PLAIN_TYPES:
        return value if value == value else EMPTY  # NaN is not equal to itself
    # pandas' NaT claims to be a datetime, and its NA is no type at all.
    if type(value).__name__ in ("NaTType", "NAType"):
        return EMPTY
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
        if value is None:  # NumPy's NaT
            return EMPTY
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, int, float, str, datetime)):
        return value if value == value else EMPTY
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, Decimal):
        return EMPTY if value.is_nan() else float(value)
    raise InvalidRequest(
        f"column {name!r}: {value!r} is a {type(value).__name__}; a number, a string, a boolean, "
        "a date-time, None (NULL) or cascade_client.MISSING is allowed"
    )
