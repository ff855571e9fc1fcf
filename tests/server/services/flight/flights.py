"""Flight's service on the ledger of jobs that a test makes file by file, over either transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
from cascade_proto import flight_pb2 as pb
from cascade_proto import flight_pb2_grpc
from cascade_server.config import ServerConfig
from cascade_server.errors import UnknownTable
from cascade_server.jobs.desk import Desk, folder_of
from cascade_server.services.flight.service import FlightService
from cascade_server.transport import TransportServer
from cascade_server.transport.grpcio_server import GrpcioServer

from tests.jobs.made_up import Jobs


class NoReleases:
    """What a service says whose releases are others than those of the jobs."""

    @property
    def repository(self) -> NoReleases:
        return self

    def find(self, table: str, version: int) -> None:
        raise UnknownTable.table(table, [])


@dataclass
class Flights:
    """A service that listens, and who asks it.

    Attributes:
        jobs: are made by the test.
        stub: of the service.
        stopping: set: the server stops.
    """

    jobs: Jobs
    stub: Any
    stopping: asyncio.Event

    async def read(self, ticket: bytes | str) -> pa.Table:
        """The rows of a ticket."""
        if isinstance(ticket, str):
            ticket = ticket.encode()
        return table_of([each async for each in self.stub.DoGet(pb.Ticket(ticket=ticket))])

    async def refused(self, call: Any) -> tuple[grpc.StatusCode, str]:
        """How a call ends that is refused."""
        try:
            if hasattr(call, "__aiter__"):
                async for _ in call:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError as exc:
            return exc.code(), exc.details() or ""
        raise AssertionError("it was answered")


def table_of(messages: Iterable[pb.FlightData]) -> pa.Table:
    """Rows that were sent, read by Arrow as it reads a stream of IPC."""
    sink = pa.BufferOutputStream()
    for each in messages:
        header = each.data_header + bytes(-len(each.data_header) % 8)
        sink.write(b"\xff\xff\xff\xff" + len(header).to_bytes(4, "little") + header)
        sink.write(each.data_body)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def by_path(job: str) -> pb.FlightDescriptor:
    return pb.FlightDescriptor(type=pb.FlightDescriptor.PATH, path=[job])


@asynccontextmanager
async def flights(state: Path, transport: str = "http2") -> AsyncIterator[Flights]:
    """A service on the jobs of a state folder."""
    folder_of(state).mkdir(exist_ok=True)
    jobs = Jobs(folder_of(state))
    config = ServerConfig(state_dir=state, transport=transport, port=0)
    desk, stopping = Desk(config, None), asyncio.Event()
    service = FlightService(NoReleases(), desk, config, stopping)  # type: ignore[arg-type]
    server = GrpcioServer(config) if transport == "grpcio" else TransportServer({})
    server.add_generic_rpc_handlers((service.handlers(),))
    port = await server.start("127.0.0.1", 0, False)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Flights(jobs, flight_pb2_grpc.FlightServiceStub(channel), stopping)
    finally:
        await server.stop(0)
        service.close()
        desk.close()
        jobs.close()
