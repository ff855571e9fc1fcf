"""The gRPC health service, grpc.health.v1: `Check`, `Watch` and `List`.

There is a name for each service, for the server as a whole (""), and for each table,
`cascade.v1.Synthesis/TABLE`; `List` returns all. The name "liveness" is for whatever restarts
servers: it is NOT_SERVING only if a new process would help. The others are NOT_SERVING also if
the cause is elsewhere, such as a Triton server behind this one.

grpc's own servicer has two faults: a watcher that does not read blocks all changes of status, and
when one watcher of a service leaves, the servicer forgets the others. A stopping server would wait
for the first, and not notify the others.
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
# Seconds for a watcher to read its last status.
LAST_WORD = 0.5
WHOLE_SERVER, LIVENESS = "", "liveness"
NAME = "grpc.health.v1.Health"


def name_of(service: str, table: str) -> str:
    """Return the name of a service for one table."""
    return f"{service}/{table}"


def is_seen(service: str) -> bool:
    """Return whether the current caller may see a name: strangers see no tables."""
    _, slash, table = service.partition("/")
    return not slash or asking().grant.sees(table)


def unable_names(vitals: Vitals, service: str, others: Collection[str]) -> frozenset[str]:
    """Return the names that are NOT_SERVING while the server serves.

    Args:
        vitals: what can be answered.
        service: the service that has a name for each table.
        others: other services that depend on the tables.
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
        services: names of the services; "" stands for the server.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(services)
        self._status: int = NOT_SERVING
        self._unable: frozenset[str] = frozenset()
        self._leaving = False
        # Set and replaced at every change.
        self._news = asyncio.Event()
        self._watching: set[asyncio.Task[Any]] = set()

    def say(self, status: int) -> None:
        """Set the status, and notify watchers; has no effect after `leave`."""
        if not self._leaving:
            self._status = status
            self._tell()

    def cannot(self, services: frozenset[str]) -> None:
        """Make exactly these services NOT_SERVING while the server serves."""
        if services != self._unable:
            self._unable = services
            self._tell()

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handler of `List`, which the generated code lacks."""
        method = grpc.unary_unary_rpc_method_handler(self.List)
        return grpc.method_handlers_generic_handler(NAME, {"List": method})

    async def leave(self, seconds: float = LAST_WORD) -> None:
        """Set NOT_SERVING, and end the streams of watchers with UNAVAILABLE.

        Args:
            seconds: time for watchers to read the status; slower ones are not waited for.
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
            # A server that loads, or stops in an orderly way, is alive.
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
        """Return the status of all names.

        The result is a serialized HealthListResponse, `map<string, HealthCheckResponse> statuses =
        1`.
        """
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
    """Serialize a protobuf field that is a message or a text."""
    length, varint = len(content), bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((number << 3 | 2, *varint, length)) + content
