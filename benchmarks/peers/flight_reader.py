"""Reads a flight with pyarrow's client, in a process of its own, since it has a gRPC of its own.

    python -m benchmarks.peers.flight_reader ROUNDS NAME SERVER SERVER...

Servers are read by turns, each endpoint of the flight after the other, batch by batch. What is said
is a JSON line a round and server: bytes of the batches, rows, and seconds.
"""

from __future__ import annotations

import json
import sys
import time

import pyarrow.flight as fl


def read(client: fl.FlightClient, name: str) -> dict[str, float]:
    """All rows of a flight, none of which is kept."""
    began, size, rows = time.perf_counter(), 0, 0
    for endpoint in client.get_flight_info(fl.FlightDescriptor.for_path(name)).endpoints:
        for chunk in client.do_get(endpoint.ticket):
            size += chunk.data.nbytes
            rows += chunk.data.num_rows
    return {"bytes": size, "rows": rows, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    rounds, name, *servers = sys.argv[1:]
    clients = [fl.connect(f"grpc://{each}") for each in servers]
    for client in clients:
        read(client, name)
    for _ in range(int(rounds)):
        for number, client in enumerate(clients):
            print(json.dumps({"server": number, **read(client, name)}), flush=True)
