"""Values that were never learnt, counted: where they grow, the world is no longer as it was."""

from __future__ import annotations

from collections.abc import Iterable

from cascade_proto import synthesis_pb2 as pb

# Columns and kinds that are counted each by itself. The counts of a process have a place of one
# size, and whoever scrapes them pays for each.
MOST_SERIES = 1000
# Of what comes after these.
OTHER_COLUMNS = "(other columns)"

Key = tuple[str, str, pb.OutsideKind.ValueType]


class OutsideCounts:
    """Counts of one process, since it began."""

    def __init__(self) -> None:
        self._values: dict[Key, int] = {}

    def add(self, table: str, values: Iterable[tuple[str, pb.OutsideKind.ValueType, int]]) -> None:
        """Add values of an answer.

        Args:
            table: whose.
            values: a column, a kind, and how many values there are of it.
        """
        for column, kind, number in values:
            key = table, column, kind
            if key not in self._values and len(self._values) >= MOST_SERIES:
                key = table, OTHER_COLUMNS, kind
            self._values[key] = self._values.get(key, 0) + number

    def describe(self, out: pb.GetStatisticsResponse) -> None:
        """Fill in what was counted."""
        for (table, column, kind), values in self._values.items():
            out.outside.add(table=table, column=column, kind=kind, values=values)
