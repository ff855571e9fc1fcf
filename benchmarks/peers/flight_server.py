"""pyarrow's own Flight server on a folder of Parquet files, as Arrow's cookbook writes one.

A file is an endpoint, and is read batch by batch. It says its port, and ends when its input does.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def serve(folder: Path) -> None:
    """Serve a folder; pyarrow's gRPC is loaded by who does so only, for it is a second one."""
    import pyarrow as pa
    import pyarrow.flight as fl
    import pyarrow.parquet as pq

    class Files(fl.FlightServerBase):
        def get_flight_info(
            self, context: object, descriptor: fl.FlightDescriptor
        ) -> fl.FlightInfo:
            names = sorted(each.name for each in folder.glob("*.parquet"))
            endpoints = [fl.FlightEndpoint(name.encode(), []) for name in names]
            return fl.FlightInfo(pq.read_schema(folder / names[0]), descriptor, endpoints, -1, -1)

        def do_get(self, context: object, ticket: fl.Ticket) -> fl.RecordBatchStream:
            file = pq.ParquetFile(folder / ticket.ticket.decode())
            batches = file.iter_batches()
            return fl.RecordBatchStream(
                pa.RecordBatchReader.from_batches(file.schema_arrow, batches)
            )

    server = Files("grpc://127.0.0.1:0")
    print(server.port, flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.flight_server", description=__doc__
    )
    parser.add_argument("folder", type=Path)
    serve(parser.parse_args().folder)
