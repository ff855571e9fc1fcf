"""The caller's rows in any form, read into columns of observed values, whole or in part."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from cascade_client.errors import CascadeError, InvalidRequest
from cascade_client.messages.arrow_frames import Streamed
from cascade_client.messages.cells import Cells, Form, of_rows
from cascade_client.messages.frames import FrameKind, kind_of

# Row numbers in server messages about values; there are at most a dozen of them.
ROWS_NAMED = re.compile(r"\brow (\d{1,12})\b")
Failed = TypeVar("Failed", bound=CascadeError)


@dataclass(frozen=True)
class Given:
    """Rows of the caller to complete.

    Attributes:
        cells: the columns with any known values.
        count: rows.
        form: the form that they came in.
        frame: the frame that they came from, if any: the answer has the same form.
    """

    cells: tuple[Cells, ...]
    count: int
    form: Form | FrameKind
    frame: Any = None


@dataclass(frozen=True)
class Held:
    """Rows in the caller's form, not read yet.

    Attributes:
        data: a list of dicts or a frame; for a stream of Arrow's, a `pyarrow.Table`.
        kind: of the frame; None: a list of dicts.
        count: rows.
    """

    data: Any
    kind: FrameKind | None
    count: int

    @property
    def form(self) -> Form | FrameKind:
        """The form of the rows."""
        return Form.ROWS if self.kind is None else self.kind

    @property
    def frame(self) -> Any:
        """The frame; None: a list of dicts."""
        return None if self.kind is None else self.data

    def read(self, begin: int, end: int) -> Given:
        """Read some of the rows; raises as `read`."""
        if self.kind is None:
            return read(self.data[begin:end])
        return read(self.kind.part(self.data, begin, end))

    def labels(self, rows: Sequence[int]) -> list[Any] | None:
        """Return the caller's labels of some rows; None: they have only positions."""
        labels = None if self.kind is None else self.kind.labels(self.data, rows)
        if labels is None or labels == list(rows):
            return None
        # Plain numbers, for the user to read: 3 rather than np.int64(3).
        return [each.item() if isinstance(each, np.number) else each for each in labels]

    def explained(self, error: Failed, begin: int, end: int) -> Failed:
        """Translate an error of a request for rows [begin, end) to the caller's row labels.

        A server names rows by their positions in its message. The message is kept, and the caller's
        index labels are added.
        """
        message, is_part = str(error), (begin, end) != (0, self.count)
        places = dict.fromkeys(int(place) for place in ROWS_NAMED.findall(message))
        named = [place for place in places if begin <= place < end]
        if (labels := self.labels(named)) is not None:
            pairs = zip(named, labels, strict=True)
            message += f" (index: {', '.join(f'row {row} is {label!r}' for row, label in pairs)})"
        if is_part:
            rows = f"rows {begin:,} to {end - 1:,} of {self.count:,}"
            if (labels := self.labels((begin, end - 1))) is not None:
                rows += f" (index {labels[0]!r} to {labels[1]!r})"
            message, error.rows = f"{rows}: {message}", range(begin, end)
        error.args = (message,)
        return error


def hold(data: object) -> Held | None:
    """Identify the caller's data; None: one dict, which is a row.

    A stream of Arrow's is read here and must not be read again: use the returned rows from now on,
    and not the caller's object.

    Raises:
        InvalidRequest: a type that `read` does not allow.
    """
    if isinstance(data, Mapping):
        return None
    kind = kind_of(data)
    if kind is not None:
        frame = kind.table(data) if isinstance(kind, Streamed) else data
        return Held(frame, kind, kind.count(frame))
    if not isinstance(data, Sequence) or not all(isinstance(row, Mapping) for row in data):
        what = f"the string {data!r}" if isinstance(data, str) else f"a {type(data).__name__}"
        raise InvalidRequest(
            f"data is {what}; a dict, a list of dicts, a DataFrame of pandas or "
            "polars, a pyarrow Table or RecordBatch, or what gives a stream of Arrow's C interface "
            "is allowed"
        )
    return Held(data, None, len(data))


def check_once(names: Sequence[str]) -> None:
    """Check that each column to send has its own name.

    Raises:
        InvalidRequest: two have the same.
    """
    if len(set(names)) < len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise InvalidRequest(f"data has two columns {twice!r}; one of each name is allowed")


def read(data: object) -> Given:
    """Read a dict, a list of dicts or a frame.

    The meaning of an empty cell depends on its column; see `pack`.

    Args:
        data: the rows, or the result of `hold`. In dicts a missing key, or `MISSING`, is absent. In
            frames a missing column is absent. None, NaN, NaT, NA and a null of Arrow are NULL.

    Raises:
        InvalidRequest: another type; no rows; a column name that is not a string or comes twice; a
            value that cannot be stored in a table.
    """
    held = data if isinstance(data, Held) else hold(data)
    if held is None:
        assert isinstance(data, Mapping)
        return Given(of_rows([data]), 1, Form.ROW)
    if held.count == 0:
        raise InvalidRequest("data has no rows; at least one is needed")
    cells = of_rows(held.data) if held.kind is None else held.kind.read(held.data)
    check_once([column.name for column in cells])
    return Given(cells, held.count, held.form, held.frame)
