"""The server's life: listen, load, serve, drain, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from cascade_server.answer_metrics import AnswersCollector
from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError
from cascade_server.grpcio_server import GrpcioServer
from cascade_server.metrics import SteppingCollector
from cascade_server.open_inference.service import NAME as INFERENCE
from cascade_server.open_inference.service import InferenceService
from cascade_server.placement import Placement
from cascade_server.remote_teacher import TeacherLink
from cascade_server.repository import Loaded, Repository
from cascade_server.router import Tier
from cascade_server.service import NAME as SYNTHESIS
from cascade_server.service import Service
from cascade_server.sla import Sla
from cascade_server.transport import TransportServer

SECONDS_BETWEEN_NOTES = 0.5
SERVICES = (SYNTHESIS, INFERENCE)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Server:
    """One process's server.

    >>> await server.startup()      # listens; health says NOT_SERVING; loads; says SERVING
    >>> await server.main_loop()    # until `stop`
    >>> await server.shutdown()     # drains

    Args:
        config: how to serve.
        report: is told of each release that is loaded.
        sla: where calls are counted; None: by this process alone.
        placement: this process's part among workers that share connections; None: it has none.

    Raises:
        ConfigError: `slo.yaml` is not what it should be.
        ReleaseError: there is no model repository.
    """

    def __init__(
        self,
        config: ServerConfig,
        report: Callable[[Loaded], None] = lambda _: None,
        sla: Sla | None = None,
        placement: Placement | None = None,
    ) -> None:
        self.config = config
        self.port = 0
        self._report, self._placement = report, placement
        self._telling: asyncio.Task[None] | None = None
        self._teachers: TeacherLink | None = None
        self._stop = asyncio.Event()
        self.sla = sla or Sla(config)
        self.service = Service(config, self.sla)
        self._health = health.aio.HealthServicer()
        self._transport: GrpcioServer | TransportServer
        if config.transport == "grpcio":
            self._transport = GrpcioServer(config)
        else:
            self._transport = TransportServer(
                self.service.grouped(), config.max_concurrent_streams, config.max_message_bytes
            )
        self.inference = InferenceService(self.service, self.sla, config)
        self._transport.add_generic_rpc_handlers(
            (self.service.handlers(), self.inference.handlers())
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._transport)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer(names), self._transport
        )

    async def startup(self) -> None:
        """Listen, load and warm every release, then say SERVING.

        Raises:
            ConfigError: the address cannot be listened on, or the state cannot be kept.
            ReleaseError: a release is missing or damaged; nothing is served.
        """
        await self._say(NOT_SERVING)
        await self.sla.start()
        address = f"{self.config.host}:{self.config.port}"
        try:
            self.port = await self._transport.start(
                self.config.host, self.config.port, self.config.reuse_port, self._placement
            )
        except OSError as exc:
            raise ConfigError(f"cannot listen on {address}: is the port taken?") from exc
        tiers: tuple[Tier, ...] = tuple(Tier)
        if self.config.teacher_socket is not None:
            self._teachers = TeacherLink(self.config.teacher_socket)
            self._teachers.start()
            tiers = (Tier.STUDENT,)
        loop = asyncio.get_running_loop()
        threads, report = self.config.teacher_threads, self._report
        repository = await loop.run_in_executor(
            None,
            Repository.load,
            self.config.repository,
            threads,
            report,
            tiers,
            self.config.runtime,
        )
        teachers = None
        if self._teachers is not None:
            if self.config.await_teacher:
                await self._teachers.connected.wait()
            teachers = self._teachers.teacher
        self.service.ready(repository, teachers)
        if self.sla.metrics is not None:
            for collector in (AnswersCollector, SteppingCollector):
                self.sla.metrics.registry.register(collector(self.service.statistics))
        if self.sla.shared:
            self._telling = asyncio.create_task(self._keep_telling())
        await self._say(SERVING)

    async def main_loop(self) -> None:
        """Serve until `stop` is called."""
        await self._stop.wait()

    def stop(self) -> None:
        """Ask the server to drain and stop."""
        self._stop.set()

    async def shutdown(self) -> None:
        """Say NOT_SERVING, take no new calls, let those in flight finish, up to the grace."""
        await self._health.enter_graceful_shutdown()
        if self._placement is not None:
            self._placement.says_ready(False)
        self.service.drain()
        await self._transport.stop(self.config.drain_seconds)
        if self._telling is not None:
            self._telling.cancel()
        await self.service.close()
        if self._teachers is not None:
            self._teachers.stop()
        await self.sla.stop()

    async def _keep_telling(self) -> None:
        """Let the other processes know how this one is doing."""
        note = self.sla.ledger.book.now
        while True:
            note.write(self.service.own_statistics().SerializeToString())
            await asyncio.sleep(SECONDS_BETWEEN_NOTES)

    async def _say(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        if self._placement is not None:
            self._placement.says_ready(status == SERVING)
        for name in ("", *SERVICES):
            await self._health.set(name, status)
