"""How a job is cut into shards: a pure function of how many rows it has and how wide they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# The folder of a job's files with rows, in which there is nothing else: readers of folders of
# Parquet differ in what else they pass over, and some end at the first file that is none.
ROWS_FOLDER = "data"
# Cells of a shard at most: what is held of one while it is made is some ten times 8 bytes a cell.
CELLS = 2**21
# Rows of a shard, whatever its width. Of the teacher's fewer, which it takes some ten seconds for:
# so much is made anew when a process is killed.
FEWEST, MOST, MOST_OF_TEACHER = 1024, 131_072, 8192


@dataclass(frozen=True)
class Shard:
    """Rows [first, first + rows) of a job.

    Attributes:
        number: from 0.
        first: the first of its rows.
        rows: how many.
        folder: of the file that holds it, below the job's output; "": the output itself, as jobs of
            before have it.
    """

    number: int
    first: int
    rows: int
    folder: str = ROWS_FOLDER

    @property
    def name(self) -> str:
        """Of the file that holds it, below the job's output."""
        name = f"part-{self.number:05}.parquet"
        return f"{self.folder}/{name}" if self.folder else name


@dataclass(frozen=True)
class Plan:
    """All shards of a job.

    Attributes:
        rows: of the job.
        shard_rows: of each shard but the last.
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
    """Rows of each shard: the largest power of two that keeps what is held of one in bounds.

    Args:
        columns: that are written.
        by_teacher: whether the teacher draws them, which takes far longer.
    """
    fit = max(1, CELLS // max(1, columns))
    most = MOST_OF_TEACHER if by_teacher else MOST
    return max(FEWEST, min(most, 1 << (fit.bit_length() - 1)))


def plan(rows: int, columns: int, by_teacher: bool) -> Plan:
    """Cut a job into shards."""
    return Plan(rows, rows_of_shard(columns, by_teacher))
