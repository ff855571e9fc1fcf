"""Rows of another file in the types of a known schema, whatever the file alone would suggest."""

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

# NumPy kinds that a column of each kind accepts, and its element type.
ELEMENTS = {
    Kind.BOOLEAN: ("b", "bool"),
    Kind.INTEGER: ("if", "int64"),
    Kind.CONTINUOUS: ("if", "float64"),
    Kind.DATETIME: ("M", "datetime64[us]"),
}
# A later file may have this many times the share of odd cells in the training file, because samples
# vary by chance.
MORE_ODD = 2
# Kinds for categories that were made from other types than text, by the prefix of the source type.
MADE_FROM = {
    "int": Kind.INTEGER,
    "uint": Kind.INTEGER,
    "double": Kind.CONTINUOUS,
    "float": Kind.CONTINUOUS,
    "half": Kind.CONTINUOUS,
    "bool": Kind.BOOLEAN,
}


def kind_to_read(column: Column) -> Kind:
    """Return the kind as which cells of a text file must be read for a column."""
    if column.kind is not Kind.CATEGORICAL:
        return column.kind
    found = (kind for begin, kind in MADE_FROM.items() if column.dtype.startswith(begin))
    return next(found, Kind.CATEGORICAL)


def fitted(table: Table, schema: Schema, called: str) -> Table:
    """Return the columns of a schema, in its order and with its types.

    Values that do not fit, including odd cells of the file, are reported as findings, and count as
    NULL.

    Args:
        table: content of a file.
        schema: of the table that the file belongs to.
        called: the file's name in messages.

    Raises:
        DataError: the file lacks a column, a column of another type cannot be converted, or more
            than a few of its cells do not fit.
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
    # The former are counted in all rows of a large table, the latter in its sample.
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
    """Return the allowed share of odd cells in a column.

    A column that had many in the training file, because a user named its kind, may have as many in
    other files.
    """
    form = table.findings.forms.get(name)
    return ODD_SHARE if form is None else max(ODD_SHARE, MORE_ODD * form.odd_share)


def _fitted(stream: Stream, schema: Schema, called: str) -> Iterator[Frame]:
    for chunk in stream.chunks():
        yield Frame({c.name: _made(c, chunk[c.name], called)[0] for c in schema.columns})


def _made(column: Column, data: ColumnData, called: str) -> tuple[ColumnData, NDArray[np.bool_]]:
    """Convert a column to its schema's type; also return bool [n], which values do not fit."""
    none = np.zeros(len(data), bool)
    held = data.values.dtype.kind
    if column.kind is Kind.CATEGORICAL:
        texts = np.array([*as_text(data.values), None], object)[:-1]
        return ColumnData(texts, data.null, "string"), none
    needed, element = ELEMENTS[column.kind]
    if data.null.all():
        # The inferred type of a column without values does not matter.
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
        # Row numbers of a sample differ from those in the files.
        tuple(table.places(rows)) if table.stream is None else (),
    )
