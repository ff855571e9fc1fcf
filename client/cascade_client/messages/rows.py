"""Conversion of columns between the caller's forms and the wire: packing and unpacking of values.

The server decides what a column may hold. The schema is used here only to choose how a value is
sent: an int for a continuous column as a double, 25.0 for an integer column as an integer. A value
that does not fit is sent unchanged, for the server to refuse by name. The server also stores a
continuous column's numbers as doubles, so an int beyond 2**53 becomes the nearest double. A frame
still returns it unchanged, since cells that had a value are the frame's own; dicts return the
double.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.cells import ABSENT_CELL, FIELDS, NULL_CELL, PLACEHOLDERS
from numpy.typing import NDArray

from cascade_client.errors import InvalidRequest
from cascade_client.messages.cells import NULL, OBSERVED, Cells, Form, Nulls
from cascade_client.messages.frames import FrameKind
from cascade_client.messages.given import Given
from cascade_client.values.date_times import from_microseconds, to_microseconds
from cascade_client.values.descriptions import ColumnDescription, TableDescription

DTYPES: Mapping[str, Any] = {
    "doubles": np.float64,
    "integers": np.int64,
    "strings": object,
    "booleans": np.bool_,
}

# Arrow's names of the dtypes that are narrower than the wire's; others keep the wire's dtype.
NARROW: Mapping[str, Any] = {
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "float": np.float32,
    "float32": np.float32,
}


def no_text(what: str, name: str, why: UnicodeEncodeError) -> InvalidRequest:
    """Build the error for a name that cannot be sent, for example half of a surrogate pair."""
    return InvalidRequest(f"{what} {name!r} cannot be sent ({why.reason}); Unicode is allowed")


def pack(
    given: Given,
    schema: Mapping[str, ColumnDescription],
    into: pb.Rows,
    nulls: Nulls | None = None,
) -> None:
    """Write rows into a message.

    Args:
        given: the rows.
        schema: the table's columns.
        into: an empty message.
        nulls: whether NULL is observed in columns with NULLs in training, and absent elsewhere
            ("observed"), or absent everywhere ("fill"); None: it is observed everywhere.

    Raises:
        InvalidRequest: a column mixes types, or the wire cannot carry a value.
    """
    into.count = given.count
    add = into.columns.add  # in place: protobuf would copy a column made elsewhere
    for cells in given.cells:
        _pack_column(cells, schema.get(cells.name), add(), nulls)


def _pack_column(
    cells: Cells, column: ColumnDescription | None, into: pb.Column, nulls: Nulls | None
) -> None:
    states = cells.states
    holed = any(states)
    if holed and nulls is not None:
        never_null = column is not None and not column.nullable
        if never_null or nulls == "fill":
            states = states.replace(NULL_CELL, ABSENT_CELL)
    try:
        into.name = cells.name
    except UnicodeEncodeError as exc:
        raise no_text("column", cells.name, exc) from exc
    if holed:
        into.states = states
    if not cells.observed:
        return
    field, values = _encode(cells, column)
    if holed:
        known = iter(values)
        blank = PLACEHOLDERS[field]
        values = [next(known) if state == OBSERVED else blank for state in states]
    try:
        getattr(into, field).values.extend(values)
    except ValueError as exc:  # beyond 64 bits; a string that is not Unicode
        raise InvalidRequest(
            f"column {cells.name!r} has a value that cannot be sent ({exc}); 64-bit integers "
            "and Unicode strings are allowed"
        ) from exc


def _encode(cells: Cells, column: ColumnDescription | None) -> tuple[str, list[Any]]:
    """Return the field of pb.Column for the values, and the values to write."""
    kind = None if column is None else column.kind
    values = cells.observed
    field = _natural_field(cells, kind)
    if kind == "categorical" and column is not None and field != "strings":
        categories = frozenset(column.categories) if len(values) > 1 else column.categories
        return "strings", [_label(value, categories) for value in values]
    if field == "times":
        if kind == "datetime":
            return "integers", [to_microseconds(value) for value in values]
        return "strings", [value.isoformat() for value in values]
    if kind == "continuous" and field == "integers":
        try:
            return "doubles", [float(value) for value in values]
        except OverflowError:
            return "integers", values
    if kind == "integer" and field == "doubles" and all(float(v).is_integer() for v in values):
        return "integers", [int(value) for value in values]
    if kind == "boolean" and field in ("integers", "doubles") and set(values) <= {0, 1}:
        return "booleans", [bool(value) for value in values]
    if kind == "datetime" and field == "integers":
        _check_times(cells.name, values)
    if kind == "datetime" and field == "strings":
        try:
            return "integers", [to_microseconds(datetime.fromisoformat(v)) for v in values]
        except ValueError:
            return field, values
    return field, values


def _check_times(name: str, values: Sequence[int]) -> None:
    """Check that microseconds are a valid date-time, so that the value can be returned as one."""
    least, most = to_microseconds(datetime.min), to_microseconds(datetime.max)
    for value in values:
        if not least <= value <= most:
            raise InvalidRequest(
                f"column {name!r}: {value} is no date-time; microseconds since 1970-01-01 UTC "
                f"from {least} to {most} are allowed"
            )


def _natural_field(cells: Cells, kind: str | None) -> str:
    """Return the field for values by their Python type alone; "times" stands for date-times."""
    fields = {_field_of(type_) for type_ in set(map(type, cells.observed))}
    if len(fields) == 1:
        return fields.pop()
    if fields == {"integers", "doubles"}:
        return "doubles"
    if kind == "categorical":
        return "mixed"
    names = " and ".join(sorted({type(value).__name__ for value in cells.observed}))
    raise InvalidRequest(f"column {cells.name!r} mixes {names}; values of one type are allowed")


@cache
def _field_of(type_: type) -> str:
    if issubclass(type_, bool):  # before int, which it is too
        return "booleans"
    if issubclass(type_, int):
        return "integers"
    if issubclass(type_, float):
        return "doubles"
    return "strings" if issubclass(type_, str) else "times"


def _label(value: Any, categories: Container[str]) -> str:
    """Format a category as text; pandas writes 2 as 2.0 in a column with holes."""
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    if isinstance(value, float) and value.is_integer() and text not in categories:
        return str(int(value))
    return text


def unpack(
    answers: Sequence[pb.Rows],
    schema: TableDescription,
    form: Form | FrameKind,
    like: Any = None,
    draws: int = 1,
) -> Any:
    """Convert the rows of one or more answers, concatenated, to the requested form.

    A frame's columns keep the dtype of `like`, and its cells that have a value. Columns that `like`
    lacks, and numbers where it has no value, get the dtype of the column's source. For a column
    with NULL, a pandas DataFrame has pandas' nullable integers and booleans, NaN, NaT or None;
    dicts have None. Date-times are naive, in UTC, if `like` has no zone for them.

    Args:
        answers: with the same columns in the same order; at least one.
        schema: says which integers are date-times.
        form: what to return; `Form.ROW` requires a single row.
        like: the frame of the request; None: there is none.
        draws: answers for each of its rows.

    Raises:
        MissingDependency: the frame's package is not installed.
    """
    if not isinstance(form, Form):
        return form.make(_to_arrays(answers, schema), like, draws)
    rows = [row for answer in answers for row in _to_rows(answer, schema)]
    return rows[0] if form is Form.ROW else rows


def _to_rows(answer: pb.Rows, schema: TableDescription) -> list[dict[str, Any]]:
    names = [column.name for column in answer.columns]
    columns = [_to_list(column, answer.count, schema) for column in answer.columns]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _to_list(column: pb.Column, count: int, schema: TableDescription) -> list[Any]:
    field = column.WhichOneof("values")
    if field is None:
        return [None] * count
    values: list[Any] = list(getattr(column, field).values)
    if field == "integers" and _is_time(column.name, schema):
        values = [from_microseconds(value) for value in values]
    if any(column.states):
        pairs = zip(values, column.states, strict=True)
        values = [None if state == NULL else value for value, state in pairs]
    return values


def _is_time(name: str, schema: TableDescription) -> bool:
    described = schema.column(name)
    return described is not None and described.kind == "datetime"


def _to_arrays(
    answers: Sequence[pb.Rows], schema: TableDescription
) -> list[tuple[str, NDArray[Any], NDArray[np.bool_]]]:
    """Return name, values and NULL mask of each column."""
    columns = []
    for parts in zip(*(answer.columns for answer in answers), strict=True):
        name = parts[0].name
        fields = {part.WhichOneof("values") for part in parts} - {None}
        field = fields.pop() if fields else _expected_field(schema.column(name))
        values, masks = [], []
        for answer, part in zip(answers, parts, strict=True):
            values.append(_to_array(part, field, answer.count))
            masks.append(
                np.frombuffer(part.states, np.uint8) == NULL
                if part.states
                else np.zeros(answer.count, np.bool_)
            )
        joined = np.concatenate(values)
        if field == "integers" and _is_time(name, schema):
            joined = joined.astype("datetime64[us]")
        else:
            joined = _narrowed(joined, schema.column(name))
        columns.append((name, joined, np.concatenate(masks)))
    return columns


def _narrowed(values: NDArray[Any], column: ColumnDescription | None) -> NDArray[Any]:
    """Convert numbers to the dtype of the column's source, if it holds them all."""
    dtype = None if column is None else NARROW.get(column.dtype)
    if dtype is None or values.dtype.kind != np.dtype(dtype).kind.replace("u", "i"):
        return values
    if values.dtype.kind == "i" and len(values):
        bounds = np.iinfo(dtype)
        if values.min() < bounds.min or values.max() > bounds.max:
            return values
    if values.dtype.kind == "f":
        # A caller's value may exceed the range of the column's source.
        known = values[np.isfinite(values)]
        if len(known) and np.abs(known).max() > np.finfo(dtype).max:
            return values
    return values.astype(dtype)


def _to_array(part: pb.Column, field: str, count: int) -> NDArray[Any]:
    if part.WhichOneof("values") is None:
        return np.full(count, PLACEHOLDERS[field], DTYPES[field])
    return np.array(list(getattr(part, field).values), DTYPES[field])


def _expected_field(column: ColumnDescription | None) -> str:
    """Return the field that a column of only NULLs would have used."""
    kind = "categorical" if column is None else column.kind
    # A kind that only newer servers have is assumed to be a number.
    return FIELDS.get(kind, "integers")
