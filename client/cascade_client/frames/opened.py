"""Conversion of a caller's data to a form that supports operations, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from cascade_client.errors import InvalidRequest
from cascade_client.frames.operations import FRAMES, POLARS_FRAMES, ROWS, TABLES, Operations
from cascade_client.messages.arrow_frames import Arrow
from cascade_client.messages.frames import BATCH, PANDAS, POLARS, FrameKind
from cascade_client.messages.given import hold


class Opened(NamedTuple):
    """A caller's data in a form that supports operations.

    Attributes:
        frame: the data; batches and streams of Arrow are a Table here.
        operations: for this kind of frame.
        kind: of the caller's data, which the result is converted back to; None: a list of dicts.
    """

    frame: Any
    operations: Operations
    kind: FrameKind | None

    def closed(self, frame: Any) -> Any:
        """Convert a frame back to the caller's kind of data."""
        return self.kind.given_back(frame) if isinstance(self.kind, Arrow) else frame


def opened(data: Any) -> Opened:
    """Open a caller's frame or list of dicts.

    Raises:
        InvalidRequest: it is neither.
    """
    if isinstance(data, str):
        raise InvalidRequest(
            f"data is the string {data!r}; a frame or a list of dicts is allowed; a table is named "
            "as table='NAME'"
        )
    if (held := hold(data)) is None:
        raise InvalidRequest("data is a dict; a frame or a list of dicts is allowed")
    if held.kind is None:
        return Opened(list(data), ROWS, None)
    if held.kind is PANDAS:
        return Opened(data, FRAMES, PANDAS)
    if held.kind is POLARS:
        return Opened(data, POLARS_FRAMES, POLARS)
    if held.kind is BATCH:
        import pyarrow as pa

        return Opened(pa.Table.from_batches([data]), TABLES, BATCH)
    return Opened(held.data, TABLES, held.kind)
