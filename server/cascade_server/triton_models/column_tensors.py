"""Converts one tensor per column to the numbers of `row`, and back; pure.

Clients send some twenty small tensors per row. They are read as Python numbers, since NumPy takes
longer for an array of one element. Whatever this module cannot read or return exactly as the codec
does, it leaves to the codec.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from cascade_tables import Kind
from cascade_tables.codecs.number_rows import EXACT
from numpy.typing import NDArray

from cascade_server.triton_models.row_tensor import RowTensor, States, Values
from cascade_server.triton_models.table_requests import PROVENANCE
from cascade_server.wire.model_tensors import LOG_LIKELIHOOD, STATE


@dataclass(frozen=True, eq=False)
class InputNames:
    """The inputs of a request.

    Attributes:
        at: the column of each, by position in the schema.
        labels: for each category among them, the position of the input, and each label's position
            among the column's labels.
    """

    at: NDArray[np.intp]
    labels: tuple[tuple[int, Mapping[bytes, int]], ...]


class ColumnInputs(NamedTuple):
    """The values of a request's inputs.

    Attributes:
        names: which inputs.
        rows: number of rows, n.
        numbers: the numbers as in `row`, row by row, n x inputs.
    """

    names: InputNames
    rows: int
    numbers: Sequence[float]


class ColumnTensors:
    """A table's columns as tensors.

    Args:
        row: the table's `row` tensor.

    Attributes:
        states: names of the outputs for columns' states, with the column's position.
    """

    def __init__(self, row: RowTensor) -> None:
        names = row.codec.schema.names
        self._columns = row.columns
        self._at = {name: index for index, name in enumerate(names)}
        self.states = {
            f"{column.name}{STATE}": index
            for index, column in enumerate(row.columns)
            if f"{column.name}{STATE}" not in self._at
        }
        self._inexact = set(np.flatnonzero(~row.codec.rows.exact).tolist())
        # Outputs with these names include more than the column.
        self._hidden = {LOG_LIKELIHOOD, PROVENANCE} & set(names)
        self._labels: list[NDArray[Any] | None] = []
        self._places: list[dict[bytes, int] | None] = []
        for index, column in enumerate(row.columns):
            if column.kind is not Kind.CATEGORICAL:
                self._places.append(None)
                self._labels.append(None)
                continue
            texts = [label.encode() for label in row.labels(index)]
            self._places.append({text: place for place, text in enumerate(texts)})
            # The last one is for NULL.
            self._labels.append(np.array([*texts, b""], object))
        # Callers send the same columns again and again.
        self._names = lru_cache(1024)(self._names_of)

    def _names_of(self, given: tuple[str, ...]) -> InputNames | None:
        index = [self._at.get(name, -1) for name in given]
        if -1 in index or not self._inexact.isdisjoint(index):
            return None
        places = [self._places[each] for each in index]
        labels = tuple((place, of) for place, of in enumerate(places) if of is not None)
        return InputNames(np.array(index, np.intp), labels)

    def read(self, given: Mapping[str, NDArray[Any]]) -> ColumnInputs | None:
        """Read a request's inputs; None to leave them to the codec.

        Args:
            given: inputs by name, [n, 1] each, of the types that Triton declares and has checked.
        """
        names = self._names(tuple(given))
        if names is None or not given:
            return None
        arrays = given.values()
        rows = len(next(iter(arrays)))
        try:
            if rows == 1:
                table = [[array.item() for array in arrays]]
            else:
                by_column = [array.ravel().tolist() for array in arrays]
                table = [list(cells) for cells in zip(*by_column, strict=True)]
            for cells in table:
                for place, places in names.labels:
                    cells[place] = places[cells[place]]
        except (KeyError, ValueError):  # a label that is not listed; different numbers of rows
            return None
        numbers = table[0] if rows == 1 else list(chain.from_iterable(table))
        # In `row` NaN means unknown; in a column's tensor it is an error.
        if not math.isfinite(sum(numbers)):
            return None
        # A whole number that a float cannot hold exactly would change on the way.
        if -EXACT < min(numbers, default=0) <= max(numbers, default=0) < EXACT:
            return ColumnInputs(names, rows, numbers)
        is_exact = all(type(number) is float or -EXACT < number < EXACT for number in numbers)
        return ColumnInputs(names, rows, numbers) if is_exact else None

    def write(self, cells: Sequence[tuple[int, ColumnInputs]], values: Values) -> None:
        """Write inputs of several requests into `row`.

        Args:
            cells: the first row and the inputs of each.
            values: [n, C], modified.
        """
        together: dict[InputNames, tuple[list[int], list[float]]] = {}
        for begin, each in cells:
            rows, numbers = together.setdefault(each.names, ([], []))
            rows.extend(range(begin, begin + each.rows))
            numbers.extend(each.numbers)
        for names, (rows, numbers) in together.items():
            flat = np.array(numbers, np.float64)
            values[np.array(rows)[:, None], names.at] = flat.reshape(len(rows), -1)

    def drawn(self, outputs: Collection[str]) -> list[int] | None:
        """Return the columns that outputs are of, by position in the schema.

        They are in the order in which the codec decodes them. None if this module cannot return all
        outputs.
        """
        found: dict[int, None] = {}
        for name in outputs:
            index = self._at.get(name, self.states.get(name))
            if index is None or index in self._inexact or name in self._hidden:
                return None
            found[index] = None
        return list(found)

    def tensors(
        self, outputs: Collection[str], values: Values, states: States | None
    ) -> dict[str, NDArray[Any]]:
        """Return outputs, [n, 1] each: columns, and their states.

        Args:
            outputs: names of the outputs.
            values, states: [n, C]; a value is NaN if it is NULL or not wanted.
        """
        out: dict[str, NDArray[Any]] = {}
        for name in outputs:
            index = self._at.get(name)
            if index is not None:
                out[name] = self._tensor(index, values[:, index])[:, None]
                continue
            assert states is not None
            out[name] = states[:, self.states[name]].copy()[:, None]
        return out

    def _tensor(self, index: int, cells: Values) -> NDArray[Any]:
        kind, labels = self._columns[index].kind, self._labels[index]
        if kind is Kind.CONTINUOUS:
            return cells.copy()
        nothing = 0 if labels is None else len(labels) - 1
        whole = np.where(cells == cells, cells, nothing).astype(np.int64)
        if labels is not None:
            return labels.take(whole)
        return whole.astype(np.bool_) if kind is Kind.BOOLEAN else whole
