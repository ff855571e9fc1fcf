"""Divides a job's rows into shards, one file each, by their number and width; pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# The subfolder of a job's files with rows. There is nothing else in it, since some readers of
# folders of Parquet stop at the first file of another kind.
ROWS_FOLDER = "data"
# Cells of a shard at most: making one takes some ten times 8 bytes of memory for each cell.
CELLS = 2**21
# Rows of a shard at least and at most, whatever its width. The teacher's shards are smaller: it
# takes some ten seconds for one, which is what is lost when a process is killed.
FEWEST, MOST, MOST_OF_TEACHER = 1024, 131_072, 8192


@dataclass(frozen=True)
class Shard:
    """Rows [first, first + rows) of a job.

    Attributes:
        number: from 0.
        first: the first of its rows.
        rows: how many.
        folder: subfolder of the job's output with the file; empty: the output itself, in jobs of
            older servers.
    """

    number: int
    first: int
    rows: int
    folder: str = ROWS_FOLDER

    @property
    def name(self) -> str:
        """The path of its file below the job's output."""
        name = f"part-{self.number:05}.parquet"
        return f"{self.folder}/{name}" if self.folder else name


@dataclass(frozen=True)
class Plan:
    """All shards of a job, as a sequence.

    Attributes:
        rows: rows of the job.
        shard_rows: rows of each shard but the last.
        folder: see `Shard`.
    """

    rows: int
    shard_rows: int
    folder: str = ROWS_FOLDER

    def __len__(self) -> int:
        return -(-self.rows // self.shard_rows)

    def __getitem__(self, number: int) -> Shard:
        if not 0 <= number < len(self):
            raise IndexError(number)
        first = number * self.shard_rows
        return Shard(number, first, min(self.shard_rows, self.rows - first), self.folder)

    def __iter__(self) -> Iterator[Shard]:
        return (self[number] for number in range(len(self)))


def rows_of_shard(columns: int, by_teacher: bool) -> int:
    """Rows of each shard: the largest power of two whose cells fit into memory; see `CELLS`.

    Args:
        columns: columns that are written.
        by_teacher: whether the teacher draws the rows, which takes far longer.
    """
    fit = max(1, CELLS // max(1, columns))
    most = MOST_OF_TEACHER if by_teacher else MOST
    return max(FEWEST, min(most, 1 << (fit.bit_length() - 1)))


def plan(rows: int, columns: int, by_teacher: bool) -> Plan:
    """Divide a job's rows into shards; the arguments are those of `rows_of_shard`."""
    return Plan(rows, rows_of_shard(columns, by_teacher))
