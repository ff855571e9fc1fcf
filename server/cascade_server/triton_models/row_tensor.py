"""The tensor `row`: all columns of a row in one, since Triton pays for each tensor of a request;
pure.

`row` is FP64 [n, C], a number a column in the schema's order: a category is its place among the
column's categories (the label that unseen ones fold into comes after them), a boolean 0 or 1. Not a
number: not known. `row.state`, UINT8 [n, C], says the same of each value as `<column>.state` does;
it is needed where a value is observed to be NULL.
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
    """A table's columns to and from the tensor.

    Attributes:
        codec, columns: of the table.
        offered: whether the table's model has it.
        nullable: whether a column may be NULL.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.columns = codec.schema.columns
        self._labels = codec.rows.labels
        # A column of that very name is not hidden.
        self.offered = {ROW, ROW_STATE}.isdisjoint(codec.schema.names)
        self.nullable = any(column.nullable for column in self.columns)

    def labels(self, column_index: int) -> Sequence[Any]:
        """A column's values that are told by their places; empty: its numbers tell themselves."""
        return self._labels[column_index]

    def states(self, values: Values, states: States | None) -> States:
        """What is said of each value: 0 observed, 1 NULL, 2 absent.

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
        """Python values of the columns that are known in some row, as `Codec.encode_partial` takes
        them.

        Raises:
            BadRequest: a category's place is none; names the row and the column.
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
        """A column's numbers as values of its kind; bounds are the codec's to check."""
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
            values, states: [n, C], written to.
        """
        column_index = self.codec.schema.names.index(name)
        numbers = values[:, column_index] = self.codec.rows.to_numbers(column_index, data)
        states[:, column_index] = np.where(data.null, NULL_STATE, 0)
        if self._labels[column_index]:
            # A category that a caller gave and that is none has no place to be told by.
            states[np.isnan(numbers) & ~data.null, column_index] = ABSENT_STATE
