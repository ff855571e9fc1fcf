"""The tensor `row`: all columns of a row in one, since each tensor of a request costs time; pure.

`row` is FP64 [n, C], a number per column in the schema's order: a category is its position among
the column's categories (the label that unseen ones fold into comes after them), a boolean is 0 or
1. NaN means unknown. `row.state`, UINT8 [n, C], is the state of each value, as in `<column>.state`;
it is needed if a value is observed to be NULL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from cascade_proto.cells import ABSENT_STATE, NULL_STATE
from cascade_tables import ABSENT, Codec, ColumnData, Kind
from numpy.typing import NDArray

from cascade_server.errors import BadRequest

ROW, ROW_STATE = "row", "row.state"
Values = NDArray[np.float64]
States = NDArray[np.uint8]


class RowTensor:
    """Converts a table's columns to the tensor and back.

    Attributes:
        codec, columns: the table's.
        offered: whether the table's model has the tensor.
        nullable: whether a column may be NULL.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.columns = codec.schema.columns
        self._labels = codec.rows.labels
        # A column with one of these names takes precedence.
        self.offered = {ROW, ROW_STATE}.isdisjoint(codec.schema.names)
        self.nullable = any(column.nullable for column in self.columns)

    def labels(self, column_index: int) -> Sequence[Any]:
        """Return a column's values that are encoded by position; empty if it is a number."""
        return self._labels[column_index]

    def states(self, values: Values, states: States | None) -> States:
        """Return the state of each value: 0 observed, 1 NULL, 2 absent.

        Raises:
            BadRequest: names the row and the column, and what is allowed.
        """
        missing = np.isnan(values)
        if states is None:
            return missing.view(np.uint8) * np.uint8(ABSENT_STATE)
        wrong = (states > ABSENT_STATE) | ((states == 0) & missing)
        if wrong.any():
            row, column_index = np.argwhere(wrong)[0].tolist()
            raise BadRequest(
                f"input {ROW_STATE!r} has {states[row, column_index]} in row {row} for column "
                f"{self.columns[column_index].name!r}, whose value is "
                f"{values[row, column_index]:g}; allowed: 0 observed (a number), 1 NULL, 2 absent"
            )
        return states

    def given(self, values: Values, states: States) -> dict[str, list[Any]]:
        """Return values of the columns that are known in some row, for `Codec.encode_partial`.

        Raises:
            BadRequest: a category's position does not exist; names the row and the column.
        """
        known = states != ABSENT_STATE
        everywhere, somewhere = known.all(axis=0).tolist(), known.any(axis=0).tolist()
        plain = not (states == NULL_STATE).any()
        by_column = values.T.tolist()
        out: dict[str, list[Any]] = {}
        for column_index, column in enumerate(self.columns):
            if not somewhere[column_index]:
                continue
            if plain and everywhere[column_index]:
                out[column.name] = self._cells(column_index, by_column[column_index])
                continue
            column_states = states[:, column_index].tolist()
            cells = iter(
                self._cells(
                    column_index,
                    [
                        c
                        for c, s in zip(by_column[column_index], column_states, strict=True)
                        if not s
                    ],
                )
            )
            out[column.name] = [
                next(cells) if s == 0 else (None if s == NULL_STATE else ABSENT)
                for s in column_states
            ]
        return out

    def _cells(self, column_index: int, cells: list[float]) -> list[Any]:
        """Convert a column's numbers to values of its kind; the codec checks their bounds."""
        kind, labels = self.columns[column_index].kind, self._labels[column_index]
        if kind is Kind.CONTINUOUS:
            return cells
        try:
            whole = list(map(int, cells))
        except OverflowError:
            whole = []
        if whole != cells or (labels and not all(0 <= cell < len(labels) for cell in whole)):
            raise self._not_allowed(column_index, cells)
        return [labels[cell] for cell in whole] if labels else list(whole)

    def _not_allowed(self, column_index: int, cells: list[float]) -> BadRequest:
        labels = self._labels[column_index]
        most = len(labels) - 1
        allowed = f"0 to {most}, the place of one of its values" if labels else "whole numbers"
        bad = next(cell for cell in cells if cell % 1 != 0 or (labels and not 0 <= cell <= most))
        name = self.columns[column_index].name
        return BadRequest(
            f"input {ROW!r} has {bad:g} for column {name!r}; allowed: {allowed}, and not a number "
            "where it is not known"
        )

    def put(self, name: str, data: ColumnData, values: Values, states: States) -> None:
        """Write a column of decoded values into `row` and its states.

        Args:
            name, data: the column, [n].
            values, states: [n, C], modified.
        """
        column_index = self.codec.schema.names.index(name)
        numbers = values[:, column_index] = self.codec.rows.to_numbers(column_index, data)
        states[:, column_index] = np.where(data.null, NULL_STATE, 0)
        if self._labels[column_index]:
            # A category of the caller's that the column does not have has no position.
            states[np.isnan(numbers) & ~data.null, column_index] = ABSENT_STATE
