"""Tables as arrays for the metrics, so that all metrics read a value the same way.

Rare categories fold into the schema's label in both tables, since a model never sees them apart. A
category that the schema lacks is a category of its own. Numbers are offset by their minimum, in
double precision, so that date-times and large whole numbers keep their resolution.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from cascade_tables import Column, Frame, Kind, Schema
from cascade_tables.categories import as_text
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def is_discrete(column: Column) -> bool:
    """Return whether a column's values are compared one by one.

    This applies to categories, booleans, and whole numbers with two values, such as a 0/1 target.
    """
    if column.kind in (Kind.CATEGORICAL, Kind.BOOLEAN):
        return True
    return (
        column.kind is Kind.INTEGER
        and column.minimum is not None
        and column.maximum is not None
        and column.step == column.maximum - column.minimum
    )


def to_matrix(frame: pd.DataFrame, schema: Schema) -> Matrix:
    """Convert a table to float64 [n, C] in schema order: codes of categories, numbers, NaN for
    NULL.

    A category's code is its position in the schema, most frequent first; one further code stands
    for every other value.

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
    """Encode discrete columns as indicators, with one for NULL, and numbers as they are, with 0 and
    an indicator for NULL.

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
