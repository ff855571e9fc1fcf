"""grpc.health.v1: who asks is told how the server is, who watches is told of each change.

There is a name for each service, for the server as a whole (""), and for each table,
`cascade.v1.Synthesis/TABLE`; `List` tells of all. One name more, "liveness", is for who starts
servers anew: it says NOT_SERVING only where another process would help, while the others say so
too where what is missing is somewhere else, as a Triton behind this server.

grpc's own servicer lets one watcher that does not read keep the server from changing its status,
and forgets all watchers of a service when one of them leaves; so a server that ends would wait for
the one, and would not tell the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from cascade_server.access.asking import asking
from cascade_server.health.ability import Vitals

SERVING = pb.HealthCheckResponse.SERVING
NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN
# Seconds in which a watcher is to take the last that it is told.
LAST_WORD = 0.5
WHOLE_SERVER, LIVENESS = "", "liveness"
NAME = "grpc.health.v1.Health"


def name_of(service: str, table: str) -> str:
    """What a service is called for one table."""
    return f"{service}/{table}"


def is_seen(service: str) -> bool:
    """Whether whoever asks may know of a name: strangers are told of no table."""
    _, slash, table = service.partition("/")
    return not slash or asking().grant.sees(table)


def unable_names(vitals: Vitals, service: str, others: Collection[str]) -> frozenset[str]:
    """The names that say NOT_SERVING while a server serves.

    Args:
        vitals: what can be answered.
        service: that has a name for each table.
        others: services that can answer nothing either where no table can be answered.
    """
    found = {name_of(service, table) for table in vitals.unable}
    if vitals.all_unable:
        found |= {WHOLE_SERVER, service, *others}
    if vitals.hopeless:
        found.add(LIVENESS)
    return frozenset(found)


class Health(health_pb2_grpc.HealthServicer):
    """The status of each service.

    Args:
        services: by name; "" stands for the server.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(services)
        self._status: int = NOT_SERVING
        self._unable: frozenset[str] = frozenset()
        self._leaving = False
        # Set, and replaced, whenever there is something to tell.
        self._news = asyncio.Event()
        self._watching: set[asyncio.Task[Any]] = set()

    def say(self, status: int) -> None:
        """Tell who asks, from now on, and who watches; nothing is said after `leave`."""
        if not self._leaving:
            self._status = status
            self._tell()

    def cannot(self, services: frozenset[str]) -> None:
        """Have these say NOT_SERVING, and no others, while the server serves."""
        if services != self._unable:
            self._unable = services
            self._tell()

    def handlers(self) -> grpc.GenericRpcHandler:
        """What gRPC needs to route `List` here, which generated code has yet to know."""
        method = grpc.unary_unary_rpc_method_handler(self.List)
        return grpc.method_handlers_generic_handler(NAME, {"List": method})

    async def leave(self, seconds: float = LAST_WORD) -> None:
        """Say NOT_SERVING, and end the streams of who watches with UNAVAILABLE.

        Args:
            seconds: that they get to take it. Who does not read is not waited for any longer.
        """
        self._status, self._leaving = NOT_SERVING, True
        self._tell()
        if self._watching:
            await asyncio.wait(self._watching, timeout=seconds)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _of(self, service: str) -> int:
        if service == LIVENESS:
            # Who loads, or ends in an orderly way, is alive.
            return NOT_SERVING if service in self._unable else SERVING
        if service not in self._services or not is_seen(service):
            return SERVICE_UNKNOWN
        return NOT_SERVING if service in self._unable else self._status

    async def Check(self, request: pb.HealthCheckRequest, context: Any) -> pb.HealthCheckResponse:
        status = self._of(request.service)
        if status == SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return pb.HealthCheckResponse(status=status)

    async def List(self, message: bytes, context: Any) -> bytes:
        """The status of all names: a serialized HealthListResponse, `map<string,
        HealthCheckResponse> statuses = 1`."""
        return b"".join(
            field(1, field(1, name.encode()) + field(2, each.SerializeToString()))
            for name in sorted((*filter(is_seen, self._services), LIVENESS))
            for each in (pb.HealthCheckResponse(status=self._of(name)),)
        )

    async def Watch(self, request: pb.HealthCheckRequest, context: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._watching.add(task)
        try:
            told = None
            while True:
                news, status, leaving = self._news, self._of(request.service), self._leaving
                if status != told:
                    await context.write(pb.HealthCheckResponse(status=status))
                    told = status
                if leaving:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
                await news.wait()
        finally:
            self._watching.discard(task)


def field(number: int, content: bytes) -> bytes:
    """A field of a message that is itself one, or text, as protobuf writes it."""
    length, varint = len(content), bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((number << 3 | 2, *varint, length)) + content
