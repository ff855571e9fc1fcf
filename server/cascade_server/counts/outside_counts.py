"""Counts of values that were never learnt: if they grow, the data has changed since training."""

from __future__ import annotations

from collections.abc import Iterable

from cascade_proto import synthesis_pb2 as pb

# Columns and kinds that are counted separately. A process's counts have a fixed size, and every
# scrape pays for each series.
MOST_SERIES = 1000
# Name for the columns beyond these.
OTHER_COLUMNS = "(other columns)"

Key = tuple[str, str, pb.OutsideKind.ValueType]


class OutsideCounts:
    """Counts of one process since it began."""

    def __init__(self) -> None:
        self._values: dict[Key, int] = {}

    def add(self, table: str, values: Iterable[tuple[str, pb.OutsideKind.ValueType, int]]) -> None:
        """Add values of an answer.

        Args:
            table: the answer's table.
            values: a column, a kind, and the number of such values.
        """
        for column, kind, number in values:
            key = table, column, kind
            if key not in self._values and len(self._values) >= MOST_SERIES:
                key = table, OTHER_COLUMNS, kind
            self._values[key] = self._values.get(key, 0) + number

    def describe(self, out: pb.GetStatisticsResponse) -> None:
        """Fill in the counts."""
        for (table, column, kind), values in self._values.items():
            out.outside.add(table=table, column=column, kind=kind, values=values)
