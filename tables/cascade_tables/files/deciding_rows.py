"""Sample of a table too large for memory, sufficient to decide its schema, bins and relations.

Column kinds (`infer_schema`), bins and relations are decided from a sample. Shares and quantiles of
a million rows are as good as those of all. Facts that do not depend on shares must not depend on
chance: for each column, the sample contains the rows that show them, wherever they are. Those hold

- the lowest and the highest value, and one that is not finite,
- a NULL, if there is one, and a value, if there is one,
- the first number that is not whole, and those that need one more digit behind the point,
- whole numbers that are not multiples of the step between those before them,
- each distinct value, until there are more of them than are listed (`most_distinct`).

So bounds, NULLs, decimals, steps, constant columns, and the values of a column with few of them are
exact, and the schema equals that of the whole table. The frequency of each category, which decides
whether it is kept, is also exact: it is counted in all rows (`CategoryCounts`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.categories import MAX_CATEGORIES, as_text
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.infer import MAX_DECIMALS, MAX_EXACT, needs_more_digits
from cascade_tables.overrides import ColumnOverride
from cascade_tables.schema import Kind

# Seed of the sample: fixed for all tables with equally many rows.
SEED = 0x5A3

Rows = NDArray[np.int64]


def spread_rows(rows: int, wanted: int) -> Rows:
    """Return the rows to take: one at random from each of equally many parts of the table, in
    order.
    """
    if wanted >= rows:
        return np.arange(rows, dtype=np.int64)
    edges = np.arange(wanted + 1, dtype=np.int64) * rows // wanted
    inside = np.random.default_rng([SEED, rows, wanted]).random(wanted)
    return edges[:-1] + (inside * np.diff(edges)).astype(np.int64)


def most_distinct(override: ColumnOverride) -> int:
    """Return the number of a column's distinct values up to which each is listed, whatever its
    share.
    """
    return max(MAX_EXACT, override.max_categories or MAX_CATEGORIES)


def asked_as_categories(overrides: Mapping[str, ColumnOverride]) -> set[str]:
    """Return the columns that the user wants as categories, whatever their values are."""
    return {name for name, each in overrides.items() if each.kind is Kind.CATEGORICAL}


class _Column:
    """What is known about a column so far."""

    def __init__(self, most: int) -> None:
        self.fractions = False
        self._most = most
        self._null = self._odd = False
        self._base: int | None = None
        self._low: Any = None
        self._high: Any = None
        self._step = 0
        self._digits: int | None = 0
        self._distinct: set[Any] | None = set()

    def look(self, data: ColumnData) -> list[int]:
        """Return the rows that add information about the column to the rows before."""
        rows: list[int] = []
        if not self._null and data.null.any():
            self._null = True
            rows.append(int(data.null.argmax()))
        present = np.flatnonzero(~data.null)
        values = data.values[present]
        if values.dtype.kind == "M":
            values = values.view(np.int64)
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            if not finite.all():
                if not self._odd:
                    self._odd = True
                    rows.append(int(present[~finite][0]))
                present, values = present[finite], values[finite]
        if not len(values):
            return rows
        if self._base is None and values.dtype.kind == "i":
            self._base = int(values[0])
        found = self._new_values(values)
        if values.dtype.kind in "if":
            found += self._beyond(values)
        if values.dtype.kind == "i":
            found += self._between(values)
        if values.dtype.kind == "f":
            found += self._finer(values, data.dtype)
        return rows + present[found].tolist()

    def _new_values(self, values: NDArray[Any]) -> list[int]:
        if self._distinct is None:
            return []
        if not set(values.tolist()) - self._distinct:
            return []
        # The first row of each.
        where = dict(zip(reversed(values.tolist()), range(len(values) - 1, -1, -1), strict=True))
        new = [value for value in where if value not in self._distinct]
        new.sort(key=where.__getitem__)
        new = new[: self._most + 1 - len(self._distinct)]
        self._distinct.update(new)
        if len(self._distinct) > self._most:
            self._distinct = None
        return [where[value] for value in new]

    def _beyond(self, values: NDArray[Any]) -> list[int]:
        rows = []
        low, high = int(values.argmin()), int(values.argmax())
        if self._low is None or values[low] < self._low:
            self._low = values[low].item()
            rows.append(low)
        if self._high is None or values[high] > self._high:
            self._high = values[high].item()
            rows.append(high)
        return rows

    def _between(self, values: NDArray[np.int64]) -> list[int]:
        """Return whole numbers that at least halve the step, of which there are few."""
        rows: list[int] = []
        if self._distinct is not None:
            # All distinct values are in the sample.
            return rows
        base = self._base
        assert base is not None
        while self._step != 1:
            if self._step == 0:
                off = values != base
            elif self._step < 2**63:
                off = values % self._step != base % self._step
            else:
                # Differences that 64 bits cannot hold.
                off = np.array([(v - base) % self._step != 0 for v in values.tolist()])
            if not off.any():
                return rows
            rows.append(int(off.argmax()))
            self._step = math.gcd(self._step, int(values[rows[-1]]) - base)
        return rows

    def _finer(self, values: NDArray[np.float64], dtype: str) -> list[int]:
        rows: list[int] = []
        if not self.fractions:
            fraction = values != np.floor(values)
            if fraction.any():
                self.fractions = True
                rows.append(int(fraction.argmax()))
        while self._digits is not None:
            more = needs_more_digits(values, self._digits, dtype)
            if not more.any():
                return rows
            rows.append(int(more.argmax()))
            while self._digits <= MAX_DECIMALS and more[rows[-1]]:
                self._digits += 1
                more = needs_more_digits(values, self._digits, dtype)
            if self._digits > MAX_DECIMALS:
                self._digits = None
        return rows


class CategoryCounts:
    """Counts of the categories of some columns in all rows, within a memory limit.

    Args:
        names: columns of numbers or dates that become categories; text is always counted.
        most: total number of distinct values of all columns. Beyond it, the column with the most is
            given up; it is likely an identifier.
    """

    def __init__(self, names: Collection[str], most: int) -> None:
        self._names, self._most = names, most
        self._counts: dict[str, Counter[str]] = {}
        self._given_up: set[str] = set()
        self._kinds: dict[str, str] = {}

    def add(self, chunk: Frame) -> None:
        """Add the next rows of the table."""
        for name, data in chunk.columns.items():
            kind = data.values.dtype.kind
            if name in self._given_up or not (kind == "O" or name in self._names):
                continue
            if self._kinds.setdefault(name, kind) != kind:
                # Numbers that are reals in only some chunks have different text there.
                self._give_up(name)
                continue
            self._counts.setdefault(name, Counter()).update(as_text(data.present()))
        while sum(map(len, self._counts.values())) > self._most:
            self._give_up(max(self._counts, key=lambda name: len(self._counts[name])))

    def _give_up(self, name: str) -> None:
        self._counts.pop(name, None)
        self._given_up.add(name)

    def of(self, name: str, values: NDArray[Any]) -> Counter[str] | None:
        """Return the counts of a column with values of this type; None: there are none."""
        return self._counts.get(name) if self._kinds.get(name) == values.dtype.kind else None


class _Taken:
    """Rows of a column in one array: many small arrays would fragment memory."""

    def __init__(self, expected: int) -> None:
        self._room, self._rows = expected + expected // 16, 0
        self._values: NDArray[Any] | None = None
        self._null = np.empty(self._room, bool)
        self._dtypes: set[str] = set()

    def add(self, data: ColumnData, rows: Rows) -> None:
        """Add rows of a chunk."""
        begin, self._rows = self._rows, self._rows + len(rows)
        self._dtypes.add(data.dtype)
        if self._values is None:
            self._values = np.empty(self._room, data.values.dtype)
        if self._rows > self._room:
            self._room = self._rows + self._room // 4
            self._values = _enlarged(self._values, begin, self._room)
            self._null = _enlarged(self._null, begin, self._room)
        # Whole numbers beyond 64 bits are reals, in any chunk.
        if data.values.dtype.kind == "f" != self._values.dtype.kind:
            self._values = self._values.astype(np.float64)
        self._values[begin : self._rows] = data.values[rows]
        self._null[begin : self._rows] = data.null[rows]

    def column(self) -> ColumnData:
        """Return the added rows."""
        values = np.empty(0, object) if self._values is None else self._values
        dtype = next(iter(self._dtypes)) if len(self._dtypes) == 1 else "double"
        return ColumnData(values[: self._rows], self._null[: self._rows], dtype)


def _enlarged(array: NDArray[Any], used: int, room: int) -> NDArray[Any]:
    larger = np.empty(room, array.dtype)
    larger[:used] = array[:used]
    return larger


class DecidingRows:
    """Takes the rows that decide a table's schema from its chunks in order.

    Args:
        rows: of the table.
        wanted: how many to take, besides those taken for their information.
        limits: by column, number of distinct values up to which all are taken; see `most_distinct`.
    """

    def __init__(self, rows: int, wanted: int, limits: Mapping[str, int]) -> None:
        self._spread = spread_rows(rows, wanted)
        self._columns = {name: _Column(limit) for name, limit in limits.items()}
        self._taken = {name: _Taken(len(self._spread)) for name in limits}
        self._begin = 0

    def add(self, chunk: Frame) -> None:
        """Add the next rows of the table."""
        n = len(chunk)
        first, end = np.searchsorted(self._spread, [self._begin, self._begin + n])
        here = self._spread[first:end] - self._begin
        self._begin += n
        more: set[int] = set()
        for name, column in self._columns.items():
            data = chunk[name]
            # Rows of the sample need not be taken again for their information.
            column.look(ColumnData(data.values[here], data.null[here], data.dtype))
            more.update(column.look(data))
        rows = np.union1d(here, np.fromiter(more, np.int64, len(more)))
        for name, taken in self._taken.items():
            taken.add(chunk[name], rows)

    def has_fractions(self, name: str) -> bool:
        """Return whether a column of reals has a number that is not whole."""
        return self._columns[name].fractions

    def frame(self) -> Frame:
        """Return the rows that were taken, in the table's order."""
        return Frame({name: taken.column() for name, taken in self._taken.items()})
