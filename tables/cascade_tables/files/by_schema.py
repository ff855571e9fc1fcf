"""Rows of another file as a known schema has them: its types, whatever the file alone would say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cascade_tables.categories import as_text
from cascade_tables.errors import DataError, listing, shown
from cascade_tables.files.choosing import ODD_SHARE
from cascade_tables.files.findings import NAMED, Misfits
from cascade_tables.files.table import Stream, Table
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.schema import Column, Kind, Schema

# What a column of this kind must be made from, in NumPy's kinds, and its element type.
ELEMENTS = {
    Kind.BOOLEAN: ("b", "bool"),
    Kind.INTEGER: ("if", "int64"),
    Kind.CONTINUOUS: ("if", "float64"),
    Kind.DATETIME: ("M", "datetime64[us]"),
}
# Odd cells of a later file are few where they are up to so many times those that were learnt with:
# of some rows chance makes more of them than of others.
MORE_ODD = 2
# Categories that were made from other things than text, by the beginning of their source's type.
MADE_FROM = {
    "int": Kind.INTEGER,
    "uint": Kind.INTEGER,
    "double": Kind.CONTINUOUS,
    "float": Kind.CONTINUOUS,
    "half": Kind.CONTINUOUS,
    "bool": Kind.BOOLEAN,
}


def kind_to_read(column: Column) -> Kind:
    """What cells of a text file must be read as, for a column to be made from them."""
    if column.kind is not Kind.CATEGORICAL:
        return column.kind
    found = (kind for begin, kind in MADE_FROM.items() if column.dtype.startswith(begin))
    return next(found, Kind.CATEGORICAL)


def fitted(table: Table, schema: Schema, called: str) -> Table:
    """The columns of a schema, in its order and with its types.

    What does not fit, odd cells of the file too, is among the findings, and counts as NULL.

    Args:
        table: what a file has.
        schema: of the table that the file is one of.
        called: the file, in messages.

    Raises:
        DataError: the file lacks a column, one of another type cannot be made what it is to be, or
            more than a few of its cells do not fit.
    """
    lacking = [name for name in schema.names if name not in table.frame.columns]
    if lacking:
        raise DataError(
            f"{called} lacks {listing(map(shown, lacking))} of the columns that were learnt; "
            f"it has {listing(map(shown, table.frame.columns))}"
        )
    columns: dict[str, ColumnData] = {}
    found: list[Misfits] = []
    for column in schema.columns:
        data = table.frame[column.name]
        made, misfit = _made(column, data, called)
        columns[column.name] = made
        if misfit.any():
            found.append(_misfits(column, data, misfit, table))
    # Those of the first kind are counted in all rows of a large table, the others in its sample.
    for odd, rows in ((table.findings.odd, table.whole.rows), (tuple(found), len(table.frame))):
        for each in odd:
            if each.count > _odd_share(table, each.column) * rows:
                raise DataError(
                    f"{called}: column {each.column!r} does not fit what was learnt, {each.form}: "
                    f"{each.describe()}"
                )
    stream = table.stream
    return replace(
        table,
        frame=Frame(columns),
        findings=replace(table.findings, odd=(*table.findings.odd, *found), as_text=()),
        stream=None
        if stream is None
        else Stream(stream.rows, partial(_fitted, stream, schema, called)),
    )


def _odd_share(table: Table, name: str) -> float:
    """How many of a column's cells may be odd, as a share of the rows: a table whose columns had
    many when it was learnt, since a person named their kind, has as many in its other rows."""
    form = table.findings.forms.get(name)
    return ODD_SHARE if form is None else max(ODD_SHARE, MORE_ODD * form.odd_share)


def _fitted(stream: Stream, schema: Schema, called: str) -> Iterator[Frame]:
    for chunk in stream.chunks():
        yield Frame({c.name: _made(c, chunk[c.name], called)[0] for c in schema.columns})


def _made(column: Column, data: ColumnData, called: str) -> tuple[ColumnData, NDArray[np.bool_]]:
    """A column with its schema's type; and bool [n], which of its values do not fit."""
    none = np.zeros(len(data), bool)
    held = data.values.dtype.kind
    if column.kind is Kind.CATEGORICAL:
        texts = np.array([*as_text(data.values), None], object)[:-1]
        return ColumnData(texts, data.null, "string"), none
    needed, element = ELEMENTS[column.kind]
    if data.null.all():
        # Whatever a reader makes of a column without values.
        return ColumnData(np.zeros(len(data), element), data.null), none
    if held not in needed:
        raise DataError(
            f"{called}: column {column.name!r} has type {data.arrow_type}, but {column.kind} was "
            "learnt"
        )
    values = data.values
    if column.kind is Kind.INTEGER and held == "f":
        odd = ((values != np.floor(values)) | (np.abs(values) >= 2.0**63)) & ~data.null
        values = np.where(odd | data.null, 0.0, values)
        return ColumnData(values.astype(np.int64), data.null | odd), odd
    return ColumnData(values.astype(element), data.null), none


def _misfits(column: Column, data: ColumnData, misfit: NDArray[np.bool_], table: Table) -> Misfits:
    rows = np.flatnonzero(misfit)[:NAMED].tolist()
    return Misfits(
        column.name,
        column.kind.value,
        int(misfit.sum()),
        int((~data.null).sum()),
        tuple(dict.fromkeys(str(data.values[row]) for row in rows)),
        # Rows of a sample are others in the files.
        tuple(table.places(rows)) if table.stream is None else (),
    )
