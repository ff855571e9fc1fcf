"""A Parquet file of a job's results as the messages of Flight."""

from __future__ import annotations

from typing import Any

from cascade_server.transport import Parts

# Of a message's body, more or less: clients of gRPC take 4 MiB at most by default, and all calls of
# a connection may have one that waits to be taken, within what is held for it.
MESSAGE_BYTES = 384 * 1024
# Of a decoded cell, more or less.
CELL_BYTES = 8
# Rows of a message are a multiple, so that masks and booleans, bits, begin at whole bytes.
STEP_ROWS = 64
# Tags of FlightData's fields data_header and data_body.
_HEADER, _BODY = b"\x12", b"\xc2\x3e"


class ResultFile:
    """A file, as it was read; it is decoded a row group at a time.

    Args:
        data: the file.

    Raises:
        pyarrow.ArrowException, OSError: it is no Parquet.

    Attributes:
        groups: how many there are.
        rows: of all.
        schema: of Arrow.
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
        """Of a row group, decoded, more or less: the file has a text that comes often once."""
        found = self._metadata.row_group(group)
        return max(found.total_byte_size, found.num_rows * found.num_columns * CELL_BYTES)

    def messages(self, group: int) -> list[Parts]:
        """A row group's rows, in their order; of several groups at once, by several threads."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = pq.ParquetFile(pa.BufferReader(self._data), metadata=self._metadata)
        table = file.read_row_group(group, use_threads=False)
        rows = max(1, table.num_rows)
        fit = int(rows * MESSAGE_BYTES / max(1, table.nbytes))
        # As many in each as in the last, so far as steps allow.
        count = -(-rows // max(STEP_ROWS, fit))
        step = -(-rows // count)
        step = -(-step // STEP_ROWS) * STEP_ROWS
        return [data_of(batch.serialize()) for batch in table.to_batches(max_chunksize=step)]


def schema_message(schema: Any) -> Parts:
    """The first message of a stream."""
    return data_of(schema.serialize())


def data_of(encapsulated: Any) -> Parts:
    """An encapsulated IPC message as FlightData, whose body stays where it is.

    Args:
        encapsulated: a buffer of pyarrow's.
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
    """A length, as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
