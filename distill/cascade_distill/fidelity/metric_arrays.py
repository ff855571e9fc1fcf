"""Tables as the arrays that metrics work on, so that all of them read a value the same way.

Rare categories fold into the schema's label on both sides, since a model never sees them apart,
and a category that the schema does not know is one of its own. Numbers count from their minimum,
in double precision, so that date-times and large whole numbers keep their resolution.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from cascade_tables import Column, Frame, Kind, Schema
from cascade_tables.categories import as_text
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def is_discrete(column: Column) -> bool:
    """Whether a column's values are compared one by one: categories, booleans, and whole numbers
    that take two values, as a 0/1 target does."""
    if column.kind in (Kind.CATEGORICAL, Kind.BOOLEAN):
        return True
    return (
        column.kind is Kind.INTEGER
        and column.minimum is not None
        and column.maximum is not None
        and column.step == column.maximum - column.minimum
    )


def to_matrix(frame: pd.DataFrame, schema: Schema) -> Matrix:
    """A table as float64 [n, C] in schema order: codes of categories, numbers, NaN for NULL.

    A category's code is its place in the schema, most frequent first; then comes one code for
    every other value.

    Raises:
        UnknownColumn: the table lacks a column of the schema.
        DataError: a column mixes types.
    """
    present = [name for name in schema.names if name in frame.columns]
    typed = Frame.from_pandas(frame[present])
    out = np.empty((len(frame), len(schema.columns)))
    for position, column in enumerate(schema.columns):
        data = typed[column.name]
        if data.null.all():  # of which pandas need not know what it would hold
            out[:, position] = np.nan
        elif column.kind is Kind.CATEGORICAL:
            code = {category: float(i) for i, category in enumerate(column.categories)}
            rest = float(len(code))
            out[:, position] = [code.get(text, rest) for text in as_text(data.values)]
        elif data.values.dtype.kind == "M":
            out[:, position] = data.values.astype(np.int64) - float(column.minimum or 0)
        else:
            out[:, position] = data.values.astype(np.float64) - float(column.minimum or 0)
        out[data.null, position] = np.nan
    return out


def one_hot(matrix: Matrix, schema: Schema) -> tuple[Matrix, NDArray[np.bool_]]:
    """Discrete columns as indicators (NULL is a value of its own), numbers as they are with 0 for
    NULL and an indicator for it.

    Returns:
        float64 [n, D], and bool [D]: which of the D features are indicators.
    """
    parts: list[Matrix] = []
    indicator: list[bool] = []
    for position, column in enumerate(schema.columns):
        values = matrix[:, position]
        null = np.isnan(values)
        if is_discrete(column):
            codes, index = np.unique(np.where(null, -1.0, values), return_inverse=True)
            parts.append(np.eye(len(codes))[index])
            indicator += [True] * len(codes)
            continue
        parts.append(np.where(null, 0.0, values)[:, None])
        indicator.append(False)
        if null.any():
            parts.append(null.astype(np.float64)[:, None])
            indicator.append(True)
    return np.concatenate(parts, axis=1), np.array(indicator)
