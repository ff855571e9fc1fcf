"""Converts a Parquet file of job results to Flight messages."""

from __future__ import annotations

from typing import Any

from cascade_server.transport import Parts

# The approximate size of a message's body. gRPC clients accept 4 MiB by default, and every call of
# a connection may have one unsent message within the connection's buffer limit.
MESSAGE_BYTES = 384 * 1024
# The approximate size of a decoded cell.
CELL_BYTES = 8
# The rows of a message are a multiple of this, so that bit masks and booleans start on whole bytes.
STEP_ROWS = 64
# Tags of FlightData's fields data_header and data_body.
_HEADER, _BODY = b"\x12", b"\xc2\x3e"


class ResultFile:
    """A file in memory, decoded one row group at a time.

    Args:
        data: the file's bytes.

    Raises:
        pyarrow.ArrowException, OSError: the data is not Parquet.

    Attributes:
        groups: number of row groups.
        rows: number of rows in all groups.
        schema: the Arrow schema.
    """

    def __init__(self, data: bytes) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = pq.ParquetFile(pa.BufferReader(data))
        self._data, self._metadata = data, file.metadata
        self.groups: int = self._metadata.num_row_groups
        self.rows: int = self._metadata.num_rows
        self.schema: Any = file.schema_arrow

    def bytes_of(self, group: int) -> int:
        """Estimate the decoded size of a row group; the file stores a repeated text only once."""
        found = self._metadata.row_group(group)
        return max(found.total_byte_size, found.num_rows * found.num_columns * CELL_BYTES)

    def messages(self, group: int) -> list[Parts]:
        """Decode the rows of a group, in order; several threads may decode different groups."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = pq.ParquetFile(pa.BufferReader(self._data), metadata=self._metadata)
        table = file.read_row_group(group, use_threads=False)
        rows = max(1, table.num_rows)
        fit = int(rows * MESSAGE_BYTES / max(1, table.nbytes))
        # Messages of equal size, as far as steps allow.
        count = -(-rows // max(STEP_ROWS, fit))
        step = -(-rows // count)
        step = -(-step // STEP_ROWS) * STEP_ROWS
        return [data_of(batch.serialize()) for batch in table.to_batches(max_chunksize=step)]


def schema_message(schema: Any) -> Parts:
    """Return the first message of a stream."""
    return data_of(schema.serialize())


def data_of(encapsulated: Any) -> Parts:
    """Wrap an encapsulated IPC message as FlightData, without copying its body.

    Args:
        encapsulated: a pyarrow buffer.
    """
    import pyarrow as pa

    message = pa.ipc.read_message(encapsulated)
    header, body = message.metadata.to_pybytes(), message.body
    head = _HEADER + _varint(len(header)) + header
    if message.type == "schema":
        return Parts(head, ())
    body = memoryview(body) if body is not None else memoryview(b"")
    return Parts(head + _BODY + _varint(len(body)), (body,))


def _varint(number: int) -> bytes:
    """Encode a length as a protobuf varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
