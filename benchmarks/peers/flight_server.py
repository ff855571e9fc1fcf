"""pyarrow's own Flight server on a folder of Parquet files, as Arrow's cookbook writes one: a file is
an endpoint, and is read batch by batch. It says its port and ends when its input does.

    python -m benchmarks.peers.flight_server FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as fl
import pyarrow.parquet as pq


class Files(fl.FlightServerBase):
    """Serves a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._folder = folder

    def get_flight_info(self, context: object, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        names = sorted(each.name for each in self._folder.glob("*.parquet"))
        endpoints = [fl.FlightEndpoint(name.encode(), []) for name in names]
        schema = pq.read_schema(self._folder / names[0])
        return fl.FlightInfo(schema, descriptor, endpoints, -1, -1)

    def do_get(self, context: object, ticket: fl.Ticket) -> fl.GeneratorStream:
        file = pq.ParquetFile(self._folder / ticket.ticket.decode())
        batches = file.iter_batches()
        return fl.RecordBatchStream(pa.RecordBatchReader.from_batches(file.schema_arrow, batches))


if __name__ == "__main__":
    server = Files(Path(sys.argv[1]))
    print(server.port, flush=True)
    sys.stdin.read()
    server.shutdown()
