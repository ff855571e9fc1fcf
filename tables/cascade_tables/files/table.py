"""What reading files gives: rows, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cascade_tables.files.findings import Findings
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.overrides import ColumnOverride

# Rows of a table in memory that are handed out together.
CHUNK_ROWS = 65_536


def _by_number(rows: Sequence[int]) -> list[str]:
    return [f"row {row + 1:,}" for row in rows]


@dataclass(frozen=True)
class Stream:
    """All rows of a table that is larger than memory should hold.

    Attributes:
        rows: how many.
        chunks: reads them from the files, in order, some at a time; each call begins anew.
    """

    rows: int
    chunks: Callable[[], Iterator[Frame]]


def stream_of(frame: Frame) -> Stream:
    """The rows of a table that is in memory, which are not copied."""

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
    """Frames of equal columns, at least one, as one."""
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
    """Rows of one file or several, read.

    Attributes:
        frame: the rows; of a table that is larger than memory should hold, those by which it is
            decided what it is (see `deciding_rows`).
        findings: what is to be said of them.
        overrides: a person's corrections, by the names that the columns have now.
        places: where rows of these numbers are in the files, as "line 9".
        stream: all rows, where `frame` has only some of them.
    """

    frame: Frame
    findings: Findings = field(default_factory=Findings)
    overrides: Mapping[str, ColumnOverride] = field(default_factory=dict)
    places: Callable[[Sequence[int]], list[str]] = _by_number
    stream: Stream | None = None

    @property
    def whole(self) -> Stream:
        """All rows, wherever they are."""
        return stream_of(self.frame) if self.stream is None else self.stream
