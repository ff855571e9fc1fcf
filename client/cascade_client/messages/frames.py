"""Frames of every kind: reading, slicing and rebuilding; each kind has its own module.

No package of frames is imported before a caller passes such a frame: a value of its types can only
exist if the caller has imported the package already. Plain rows do not use this module.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from cascade_client.errors import InvalidRequest
from cascade_client.messages.arrow_frames import Arrow, Batch, Streamed
from cascade_client.messages.cells import Cells, Column
from cascade_client.messages.pandas_frames import Pandas
from cascade_client.messages.polars_frames import Polars


class ArrowStream(Protocol):
    """Data that provides a stream of Arrow's C interface, as all frames do."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Frame = TypeVar("Frame", bound=ArrowStream)


class FrameKind(Protocol):
    """One kind of frame."""

    def count(self, frame: Any) -> int:
        """Return a frame's number of rows."""

    def part(self, frame: Any, begin: int, end: int) -> Any:
        """Return the rows `begin` to `end` (exclusive) of a frame, as a frame of the same kind."""

    def read(self, frame: Any) -> tuple[Cells, ...]:
        """Return its columns in the form for the wire; None, NaN, NaT, NA and nulls are NULL.

        Raises:
            InvalidRequest: a name that is no string; a value that cannot be stored in a table.
        """

    def labels(self, frame: Any, rows: Sequence[int]) -> list[Any] | None:
        """Return the caller's labels of some rows; None: they have only positions."""

    def make(self, columns: Sequence[Column], like: Any, draws: int) -> Any:
        """Build a frame of an answer's columns.

        Args:
            columns: rows of `like`, each `draws` times.
            like: the frame of the request. Cells that had a value keep it, and columns keep their
                dtypes if these can hold the drawn values; None: there is none.
            draws: per row.
        """


@dataclass(frozen=True)
class Bare:
    """Rows without any column, which frames of polars and of Arrow cannot represent.

    Attributes:
        count: rows.
        kind: of the frame to build from them.
    """

    count: int
    kind: FrameKind


class BareRows:
    """The kind of `Bare`."""

    def count(self, frame: Bare) -> int:
        return frame.count

    def part(self, frame: Bare, begin: int, end: int) -> Bare:
        return Bare(end - begin, frame.kind)

    def read(self, _frame: Bare) -> tuple[Cells, ...]:
        return ()

    def labels(self, _frame: Bare, _rows: Sequence[int]) -> list[Any] | None:
        return None

    def make(self, columns: Sequence[Column], like: Bare, draws: int) -> Any:
        return like.kind.make(columns, None, draws)


def kind_of(data: object) -> FrameKind | None:
    """Return the kind of a frame; None: it is no frame.

    Raises:
        InvalidRequest: a lazy frame of polars.
    """
    pandas, pyarrow, polars = (sys.modules.get(name) for name in ("pandas", "pyarrow", "polars"))
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return PANDAS
    if pyarrow is not None and isinstance(data, pyarrow.Table):
        return ARROW
    if pyarrow is not None and isinstance(data, pyarrow.RecordBatch):
        return BATCH
    if polars is not None and isinstance(data, polars.DataFrame):
        return POLARS
    if polars is not None and isinstance(data, polars.LazyFrame):
        raise InvalidRequest("data is a LazyFrame; a DataFrame is allowed: collect() it first")
    if isinstance(data, Bare):
        return BARE
    return Streamed(type(data)) if hasattr(data, "__arrow_c_stream__") else None


PANDAS, ARROW, BATCH, POLARS, BARE = Pandas(), Arrow(), Batch(), Polars(), BareRows()
