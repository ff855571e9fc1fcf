"""Result of reading files: rows and findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cascade_tables.files.findings import Findings
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.overrides import ColumnOverride

# Rows per chunk of a table in memory.
CHUNK_ROWS = 65_536


def _by_number(rows: Sequence[int]) -> list[str]:
    return [f"row {row + 1:,}" for row in rows]


@dataclass(frozen=True)
class Stream:
    """All rows of a table too large for memory.

    Attributes:
        rows: number of rows.
        chunks: reads them from the files, in order and in parts; each call starts again.
    """

    rows: int
    chunks: Callable[[], Iterator[Frame]]


def stream_of(frame: Frame) -> Stream:
    """Return the rows of a table in memory as a stream, without copying."""

    def chunks() -> Iterator[Frame]:
        for begin in range(0, len(frame), CHUNK_ROWS):
            part = slice(begin, begin + CHUNK_ROWS)
            yield Frame(
                {
                    name: ColumnData(data.values[part], data.null[part], data.dtype)
                    for name, data in frame.columns.items()
                }
            )

    return Stream(len(frame), chunks)


def below_each_other(frames: Sequence[Frame]) -> Frame:
    """Concatenate frames of equal columns, at least one."""
    columns = {}
    for name, first in frames[0].columns.items():
        parts = [frame[name] for frame in frames]
        columns[name] = ColumnData(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.null for part in parts]),
            first.dtype,
        )
    return Frame(columns)


@dataclass(frozen=True)
class Table:
    """Rows read from one or more files.

    Attributes:
        frame: the rows; for a table too large for memory, a sample that decides its schema (see
            `deciding_rows`).
        findings: to report.
        overrides: the user's corrections, by the current names of the columns.
        places: returns the locations of rows in the files, as "line 9".
        stream: all rows, if `frame` is a sample.
    """

    frame: Frame
    findings: Findings = field(default_factory=Findings)
    overrides: Mapping[str, ColumnOverride] = field(default_factory=dict)
    places: Callable[[Sequence[int]], list[str]] = _by_number
    stream: Stream | None = None

    @property
    def whole(self) -> Stream:
        """All rows, in memory or not."""
        return stream_of(self.frame) if self.stream is None else self.stream
