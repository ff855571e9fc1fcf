"""Converts protocol rows to Python values and back; see synthesis.proto."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.cells import (
    ABSENT_STATE,
    FIELDS,
    NULL_STATE,
    OBSERVED_STATE,
    PLACEHOLDERS,
)
from cascade_tables import ABSENT, ColumnData, Kind, Schema
from cascade_tables.errors import shown

from cascade_server.errors import BadRequest

# Values of a column: arrays, or a list in which None is NULL.
Values: TypeAlias = ColumnData | list[Any]
# The Python type of each kind's values.
PYTHON: Mapping[Kind, type] = {
    Kind.BOOLEAN: bool,
    Kind.INTEGER: int,
    Kind.CONTINUOUS: float,
    Kind.DATETIME: int,
    Kind.CATEGORICAL: str,
}


def read_rows(rows: pb.Rows, fields: Mapping[str, str]) -> dict[str, list[Any]]:
    """Read a request's columns as Python values: None for NULL, `ABSENT` for unknown values.

    Args:
        rows: the received rows.
        fields: for each column of the table, the field of `Column` that holds its values.

    Raises:
        BadRequest: a column is named twice, or its length differs from `count`.
    """
    count = rows.count
    out: dict[str, list[Any]] = {}
    for column in rows.columns:
        name = column.name
        if name in out:
            raise BadRequest(f"rows: column {shown(name)} is listed twice")
        # Known values of the right type, by far the most frequent, are read without checking the
        # type first.
        field = fields.get(name)
        if field is not None and not column.states:
            values = getattr(column, field).values[:]
            if len(values) == count:
                out[name] = values
                continue
        which = column.WhichOneof("values")
        values = list(getattr(column, which).values) if which else None
        out[name] = with_states(name, values, column.states, count)
    return out


def with_states(name: str, values: list[Any] | None, states: bytes, count: int) -> list[Any]:
    """Combine a column's values with its states: None for NULL, `ABSENT` for absent values.

    Args:
        name: the column's name.
        values: the values; None: all are NULL or absent.
        states: one byte per row; empty: all values are observed.
        count: number of rows.

    Raises:
        BadRequest: the number of values or states differs from `count`, or a state is invalid.
    """
    known, out = values is not None, [None] * count if values is None else values
    if len(out) != count or (states and len(states) != count):
        raise BadRequest(
            f"rows: column {shown(name)} has {len(out)} values and {len(states)} states; "
            f"expected {count} of each (or no states: all observed)"
        )
    if not known and not states:
        raise BadRequest(f"rows: column {shown(name)} has neither values nor states")
    for row, state in enumerate(states):
        if state == NULL_STATE:
            out[row] = None
        elif state == ABSENT_STATE:
            out[row] = ABSENT
        elif state != OBSERVED_STATE:
            raise BadRequest(
                f"rows: column {shown(name)} has state {state} in row {row}; allowed: 0 observed, "
                "1 NULL, 2 absent"
            )
        elif not known:
            raise BadRequest(f"rows: column {shown(name)} is observed in row {row} without a value")
    return out


def write_column(column: pb.Column, kind: Kind, data: ColumnData) -> None:
    """Fill a message from a column of decoded values."""
    field = FIELDS[kind]
    values = data.values.astype(np.int64) if kind is Kind.DATETIME else data.values
    if data.null[0] if len(values) == 1 else data.null.any():
        column.states = (data.null * np.uint8(NULL_STATE)).tobytes()
        values = np.where(data.null, PLACEHOLDERS[field], values)
    getattr(column, field).values.extend(values.tolist())


def as_arrays(values: Values, kind: Kind) -> ColumnData:
    """Convert a column to arrays: date-times in microseconds, placeholders for NULL."""
    dtype = {Kind.BOOLEAN: np.bool_, Kind.CONTINUOUS: np.float64, Kind.CATEGORICAL: np.object_}
    placeholder = PLACEHOLDERS[FIELDS[kind]]
    if isinstance(values, list):
        null = np.array([value is None for value in values], np.bool_)
        filled = [placeholder if value is None else value for value in values]
        return ColumnData(np.array(filled, dtype.get(kind, np.int64)), null)
    array = values.values.astype(np.int64) if kind is Kind.DATETIME else values.values
    if values.null.any():
        array = np.where(values.null, placeholder, array)
    return ColumnData(array, values.null)


def write_values(column: pb.Column, kind: Kind, values: Values) -> None:
    """Fill a message from a column of values."""
    if not isinstance(values, list):
        write_column(column, kind, values)
        return
    field = FIELDS[kind]
    if None in values:
        column.states = bytes([NULL_STATE if value is None else OBSERVED_STATE for value in values])
        placeholder = PLACEHOLDERS[field]
        values = [placeholder if value is None else value for value in values]
    getattr(column, field).values.extend(values)


def keep_given(data: ColumnData, given: Sequence[Any], kind: Kind, draws: int) -> ColumnData:
    """Replace decoded values by the caller's own.

    A token may stand for a range of numbers or a folded category, but given values are returned
    unchanged. `data` has len(given) * draws rows.
    """
    known = [row for row, value in enumerate(given) if value is not ABSENT]
    if not known:
        return data
    values, null = data.values.copy(), data.null.copy()
    for row in known:
        here = slice(row * draws, (row + 1) * draws)
        value = given[row]
        null[here] = value is None
        if value is not None:
            values[here] = np.datetime64(value, "us") if kind is Kind.DATETIME else value
    return ColumnData(values, null, data.dtype)


def given_values(given: Sequence[Any], kind: Kind, draws: int) -> list[Any]:
    """Repeat each given value `draws` times; None and `ABSENT` stay as they are.

    Numbers are converted to the column's type: a caller may have sent 3 for 3.0.
    """
    python = PYTHON[kind]
    if all(type(value) is python for value in given):
        values = list(given)
    else:
        values = [value if value is None or value is ABSENT else python(value) for value in given]
    if len(values) == 1:
        return values * draws
    return values if draws == 1 else [value for value in values for _ in range(draws)]


def check_names(schema: Schema, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns to return: those named, or all.

    Raises:
        UnknownColumn: the schema lacks one.
        BadRequest: one is named twice.
    """
    every = schema.names
    if not names:
        return every
    for name in names:
        if name not in every:
            raise schema.unknown(name)
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise BadRequest(f"columns: {shown(twice)} is named twice")
    return tuple(names)
