"""grpc.health.v1: who asks is told how the server is, who watches is told of each change.

grpc's own servicer lets one watcher that does not read keep the server from changing its status,
and forgets all watchers of a service when one of them leaves; so a server that ends would wait for
the one, and would not tell the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN
# Seconds in which a watcher is to take the last that it is told.
LAST_WORD = 0.5


class Health(health_pb2_grpc.HealthServicer):
    """The status of all services, which is one.

    Args:
        services: by name; "" stands for the server.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(services)
        self._status: int = NOT_SERVING
        self._leaving = False
        # Set, and replaced, whenever there is something to tell.
        self._news = asyncio.Event()
        self._watching: set[asyncio.Task[Any]] = set()

    def say(self, status: int) -> None:
        """Tell who asks, from now on, and who watches; nothing is said after `leave`."""
        if not self._leaving:
            self._status = status
            self._tell()

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
        return self._status if service in self._services else SERVICE_UNKNOWN

    async def Check(self, request: pb.HealthCheckRequest, context: Any) -> pb.HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return pb.HealthCheckResponse(status=self._status)

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
