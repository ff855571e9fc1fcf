"""Frames of every kind: how they are taken apart, cut, and made again as they were; each kind has
a module of its own.

No package of frames is imported there but by who has one in hand: a value of one of their types can
only exist where the caller has imported them already. Plain rows come by none of this.
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
    """Data that gives itself away as a stream of Arrow's C interface, as all frames do."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Frame = TypeVar("Frame", bound=ArrowStream)


class FrameKind(Protocol):
    """One kind of frame."""

    def count(self, frame: Any) -> int:
        """How many rows a frame has."""

    def part(self, frame: Any, begin: int, end: int) -> Any:
        """The rows `begin` to `end` (exclusive) of a frame, as a frame of the same kind."""

    def read(self, frame: Any) -> tuple[Cells, ...]:
        """Its columns, as they travel; None, NaN, NaT, NA and nulls are NULL.

        Raises:
            InvalidRequest: a name that is no string; a value that has no place in a table.
        """

    def labels(self, frame: Any, rows: Sequence[int]) -> list[Any] | None:
        """What the caller calls some of its rows; None: their places."""

    def make(self, columns: Sequence[Column], like: Any, draws: int) -> Any:
        """A frame of answered columns.

        Args:
            columns: rows of `like`, each `draws` times.
            like: the frame that was asked. Its cells that have a value come back as they are, and
                its columns' dtypes where they hold what was drawn too; None: there is none.
            draws: of each row.
        """


@dataclass(frozen=True)
class Bare:
    """Rows of which nothing is known: frames of polars and of Arrow have none without a column.

    Attributes:
        count: rows.
        kind: of the frame that is to be made of them.
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
    """The kind of a frame; None: it is no frame.

    Raises:
        InvalidRequest: a frame of polars that is yet to be computed.
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
