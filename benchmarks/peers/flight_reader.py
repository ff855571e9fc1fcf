"""Reads a flight with pyarrow's client, in a process of its own, since it has a gRPC of its own.

Servers are read by turns, each endpoint of the flight after the other, batch by batch. What is said
is a JSON line a round and server: bytes of the batches, rows, and seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any


def read(client: Any, name: str) -> dict[str, float]:
    """All rows of a flight, none of which is kept."""
    import pyarrow.flight as fl

    began, size, rows = time.perf_counter(), 0, 0
    for endpoint in client.get_flight_info(fl.FlightDescriptor.for_path(name)).endpoints:
        for chunk in client.do_get(endpoint.ticket):
            size += chunk.data.nbytes
            rows += chunk.data.num_rows
    return {"bytes": size, "rows": rows, "seconds": time.perf_counter() - began}


def main() -> None:
    """Read, and say how long it took."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.flight_reader", description=__doc__
    )
    parser.add_argument("rounds", type=int)
    parser.add_argument("name", help="of the flight: a job's id")
    parser.add_argument("servers", nargs="+", help="host:port")
    options = parser.parse_args()

    import pyarrow.flight as fl

    clients = [fl.connect(f"grpc://{each}") for each in options.servers]
    for client in clients:
        read(client, options.name)
    for _ in range(options.rounds):
        for number, client in enumerate(clients):
            print(json.dumps({"server": number, **read(client, options.name)}), flush=True)


if __name__ == "__main__":
    main()
