"""What a caller gives, in a form for which there are operations, and given back as what it was."""

from __future__ import annotations

from typing import Any, NamedTuple

from cascade_client.errors import InvalidRequest
from cascade_client.frames.operations import FRAMES, POLARS_FRAMES, ROWS, TABLES, Operations
from cascade_client.messages.frames import BATCH, PANDAS, POLARS, STREAMED, kind_of
from cascade_client.messages.given import hold


class Opened(NamedTuple):
    """A caller's data, in a form for which there are operations.

    Attributes:
        frame: the data; batches and streams of Arrow are a Table here.
        operations: on it.
        source: what the caller gave; says what it is to be given back as.
    """

    frame: Any
    operations: Operations
    source: Any

    def closed(self, frame: Any) -> Any:
        """A frame as the caller's kind of data."""
        kind = kind_of(self.source)
        if kind is BATCH:
            (batch,) = frame.combine_chunks().to_batches() or [frame.schema.empty_table()]
            return batch
        if kind is STREAMED:
            from_arrow = getattr(type(self.source), "from_arrow", None)
            return frame if from_arrow is None else from_arrow(frame)
        return frame


def opened(data: Any) -> Opened:
    """A caller's frame, or list of dicts.

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
        return Opened(list(data), ROWS, data)
    if held.kind is PANDAS:
        return Opened(data, FRAMES, data)
    if held.kind is POLARS:
        return Opened(data, POLARS_FRAMES, data)
    if held.kind is BATCH or held.kind is STREAMED:
        import pyarrow as pa

        table = pa.Table.from_batches([data]) if held.kind is BATCH else pa.table(data)
        return Opened(table, TABLES, data)
    return Opened(data, TABLES, data)
