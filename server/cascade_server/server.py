"""The life of one process that answers calls: listen, load, serve, drain, stop.

`processes` runs one `Server` in each worker; tests and benchmarks run it in their own process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from cascade_server.access.deciding import OPEN
from cascade_server.addresses import servers_of
from cascade_server.cascade.repository import Loaded, Repository
from cascade_server.config import ServerConfig
from cascade_server.counts.metering import ProcessMeter
from cascade_server.counts.sla import Sla
from cascade_server.engines.teacher_link import TeacherLink
from cascade_server.engines.triton.fleet import Fleet
from cascade_server.engines.triton.measuring import Measuring
from cascade_server.engines.triton.tls import credentials_of
from cascade_server.health.ability import Vitals
from cascade_server.health.service import WHOLE_SERVER, Health, name_of, unable_names
from cascade_server.jobs.desk import Desk
from cascade_server.services.flight.service import NAME as FLIGHT
from cascade_server.services.flight.service import FlightService
from cascade_server.services.guarded import (
    AccessDoor,
    Files,
    Guarded,
    Handlers,
    by_access,
    expose_access,
    locally,
    open_access,
    open_auditor,
    open_watch,
)
from cascade_server.services.jobs_service import NAME as JOBS
from cascade_server.services.jobs_service import JobsService
from cascade_server.services.open_inference.service import NAME as INFERENCE
from cascade_server.services.open_inference.service import InferenceService
from cascade_server.services.releases_service import NAME as RELEASES
from cascade_server.services.releases_service import ReleasesService
from cascade_server.services.synthesis_service import NAME as SYNTHESIS
from cascade_server.services.synthesis_service import Service
from cascade_server.services.unread_calls import UnreadCalls
from cascade_server.supervision import loading
from cascade_server.supervision.control import Control
from cascade_server.supervision.listening import not_listening
from cascade_server.supervision.loading import Turns
from cascade_server.supervision.placement import Placement
from cascade_server.telemetry.logs import tell_suppressed
from cascade_server.telemetry.telemetry import OFF, Telemetry
from cascade_server.terms import Tier
from cascade_server.transport import LingerConfig, TransportLimits, TransportServer, first_of
from cascade_server.transport.grpcio_server import GrpcioServer
from cascade_server.transport.tls.credentials import Credentials

log = logging.getLogger("cascade.server")

# Seconds between the notes with which a process shares its statistics. An idle process writes only
# every fourth note, which is still often enough; see `books.STALE`.
SECONDS_BETWEEN_NOTES, QUIET_NOTES = 0.5, 4
SERVICES = (SYNTHESIS, RELEASES, JOBS, INFERENCE, FLIGHT)
# Services, besides `Synthesis`, that cannot answer while no table can be answered.
SERVICES_OF_TABLES = (INFERENCE,)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Server:
    """A gRPC server with its services, in the event loop of one process.

    The first server of a port listens while it loads, so that callers see that it is starting:

    >>> await server.startup()      # listens; health says NOT_SERVING; loads; says SERVING
    >>> await server.main_loop()    # until `stop`
    >>> await server.shutdown()     # drains

    A server that takes over from another, with other releases, loads before it listens:

    >>> await server.prepare(turns)
    >>> await server.take_over()    # listens; says SERVING
    >>> old_server.retire()         # takes no new connections
    >>> old_server.leave()          # has its main loop return; `shutdown` waits for its calls

    Args:
        config: the settings.
        report: called with each loaded release.
        sla: counts calls; None: counts of this process alone.
        placement: balances connections among workers that share a listener; None: no balancing.
        listener: a socket that several processes accept connections from; None: its own.
        control: the connection to the supervisor, which changes releases; None: no supervisor.
        local: the listening Unix socket `control.sock`, whose users may change releases; None:
            there is none.
        credentials: TLS credentials; None: those that the settings name, if any.
        telemetry: receives traces and other records of calls, beside their counts.
        files: the files that the settings name, shared with other processes; None: it reads its
            own.

    Raises:
        ConfigError: `slo.yaml` or a file for TLS is invalid.
        ReleaseError: there is no model repository.
    """

    def __init__(
        self,
        config: ServerConfig,
        report: Callable[[Loaded], None] = lambda _: None,
        sla: Sla | None = None,
        placement: Placement | None = None,
        listener: socket.socket | None = None,
        control: Control | None = None,
        local: socket.socket | None = None,
        credentials: Credentials | None = None,
        telemetry: Telemetry = OFF,
        files: Files | None = None,
    ) -> None:
        self.config = config
        self._credentials = credentials or Credentials.of(config)
        self._local = local
        self.port = 0
        self._report, self._placement, self._listener = report, placement, listener
        self._telling: asyncio.Task[None] | None = None
        self._teachers: TeacherLink | None = None
        self._fleet: Fleet | None = None
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        # Whether it ends because another takes over; whether new callers are accepted.
        self._hands_over = self._serves = False
        self.sla = sla or Sla(config)
        self._auditor = open_auditor(config)
        files = files or Files.of(config)
        self.access = open_access(config, self.sla, files, self._auditor)
        self._watch = open_watch(files, self.access, [self.sla.ledger.book.compute])
        self.service = Service(
            config, self.sla, self._hurry, self._told_health, self.access, telemetry
        )
        place = self.sla.books.processes[self.sla.place]
        self._meter = ProcessMeter(place, self.service.kept_bytes)
        self.inference = InferenceService(self.service, self.sla, config, control, self._auditor)
        tables = (name_of(SYNTHESIS, table) for table in self.sla.tables)
        self._health = Health((WHOLE_SERVER, *SERVICES, *tables))
        self._transport: GrpcioServer | TransportServer
        if config.transport == "grpcio":
            self._transport = GrpcioServer(config, self._credentials)
        else:
            self._transport = TransportServer(
                {**self.service.grouped(), **self.inference.grouped()},
                TransportLimits.of(config),
                linger=LingerConfig(config.linger_seconds),
                max_age=config.max_connection_age,
                refusing=UnreadCalls(self.sla, self.access).refused,
                over=self.sla.rpc_over if config.tells_metrics else None,
                door=None if self.access is None else AccessDoor(self.access),
                open_to_all=OPEN,
                credentials=self._credentials,
            )
        self._local_transport = TransportServer(
            {}, TransportLimits.of(config), linger=LingerConfig(0)
        )
        self._desk = Desk(config, control)
        self._flight = FlightService(self.service, self._desk, config, self._stop)
        self._add_services(self._transport, self.inference, config.release_control, control)
        local_inference = InferenceService(
            self.service, self.sla, replace(config, release_control=True), control, self._auditor
        )
        self._add_services(self._local_transport, local_inference, True, control)

    def _add_services(
        self,
        transport: GrpcioServer | TransportServer,
        inference: InferenceService,
        release_control: bool,
        control: Control | None,
    ) -> None:
        releases = ReleasesService(release_control, control, self._auditor)
        is_local = transport is self._local_transport
        jobs = JobsService(self.service, self._desk, self.config, is_local, self._stop)
        services = (self.service, inference, releases, jobs, self._flight)
        handlers = self._guarded(transport, is_local)
        handlers.add_generic_rpc_handlers(tuple(each.handlers() for each in services))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, handlers)
        handlers.add_generic_rpc_handlers((self._health.handlers(),))
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer(names), handlers
        )

    def _guarded(self, transport: GrpcioServer | TransportServer, is_local: bool) -> Handlers:
        """Wrap a transport, so that each call to an added handler first identifies its caller."""
        if is_local:
            return Guarded(transport, locally)
        if self.access is None:
            return transport
        at_door = isinstance(transport, TransportServer)
        return Guarded(transport, by_access(self.access, at_door))

    async def startup(self) -> None:
        """Listen, load and warm every release, then say SERVING. Returns early after `stop`.

        Raises:
            ConfigError: the address cannot be listened on, the state folder cannot be used, or the
                servers that run the networks are missing or have other releases.
            ReleaseError: a release is missing or damaged; nothing is served.
        """
        self._say(NOT_SERVING)
        await self._unless_stopped(self._start())

    async def _start(self) -> None:
        await self._begin()
        await self._listen()
        await self._load(None)
        self._say(SERVING)

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Await work, or cancel it when the server is asked to stop.

        A loading thread cannot be cancelled: it continues, and is not waited for.
        """
        task, stopped = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not task.done():
                task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def prepare(self, turns: Turns | None) -> None:
        """Load and warm every release, without listening.

        Args:
            turns: the turns in which this process may load while others answer; None: at once.

        Raises:
            ReleaseError: a release is missing or damaged.
        """
        await self._begin()
        await self._load(turns)

    async def take_over(self) -> None:
        """Listen and say SERVING, once `prepare` has returned.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        self._say(SERVING)
        await self._listen()

    async def _begin(self) -> None:
        await self.sla.start()
        if self._watch is not None:
            # Started before loading, which takes a while: a tenant removed from the file meanwhile
            # must not be accepted.
            self._watch.start()

    async def _listen(self) -> None:
        if self._credentials is not None:
            self._credentials.start_looking(self.config.tls_poll_seconds)
        try:
            self.port = await self._transport.start(
                self.config.host,
                self.config.port,
                self.config.reuse_port,
                self._placement,
                self._listener,
            )
        except OSError as exc:
            raise not_listening(self.config.host, self.config.port, exc) from exc
        if self._local is not None:
            await self._local_transport.start("", 0, False, listener=self._local)

    async def _load(self, turns: Turns | None) -> None:
        tiers: tuple[Tier, ...] = tuple(Tier)
        if servers := servers_of(self.config.runtime):
            workers = self.config.workers
            measuring = Measuring(workers, self.sla.place % workers)
            credentials = credentials_of(self.config)
            self._fleet = Fleet(servers, measuring=measuring, credentials=credentials)
            tiers = ()
        elif self.config.teacher_socket is not None:
            self._teachers = TeacherLink(self.config.teacher_socket)
            self._teachers.start()
            tiers = (Tier.STUDENT,)
        load = partial(
            Repository.load,
            self.config.repository,
            self.config.teacher_threads,
            self._report,
            tiers,
            self.config.versions,
            self.sla.books.live_versions,
            runtime="cpu" if servers else self.config.runtime,
        )
        repository = await loading.load(lambda pause: load(pause=pause), turns)
        teachers = None
        if self._teachers is not None:
            if self.config.await_teacher:
                await self._teachers.connected.wait()
            teachers = self._teachers.teacher
        if self._fleet is not None:
            await self._fleet.start(repository.runtimes, self.config.await_teacher)
        self.service.ready(repository, teachers, self._fleet)
        self._meter.start()
        if self.sla.metrics is not None:
            self.sla.metrics.expose(self.service.statistics)
            if self._credentials is not None:
                self._credentials.expose(self.sla.metrics.expose_certificate)
            if self.access is not None:
                expose_access(self.sla, self.access)
        if self.sla.shared:
            self._telling = asyncio.create_task(self._keep_telling())

    async def wait_for_event(self, event: asyncio.Event) -> None:
        """Wait for an event, or until the server is asked to stop."""
        await first_of(event.wait(), self._stop.wait())

    async def main_loop(self) -> None:
        """Serve until `stop` is called."""
        await self._stop.wait()

    def stop(self) -> None:
        """Make `main_loop` return, and `shutdown` give calls the configured grace period."""
        self._hurry.set()
        self._stop.set()

    def look_at_files(self) -> None:
        """Reload the files for TLS and access at once; without this they are polled."""
        if self._credentials is not None:
            self._credentials.look(at_once=True)
        if self._watch is not None:
            self._watch.look_now()

    @property
    def hands_over(self) -> bool:
        """Whether it ends, without a time limit, because another process has taken over."""
        return self._hands_over and not self._hurry.is_set()

    def retire(self) -> None:
        """Accept no new connections; another process accepts them."""
        self._serves = False
        self._place(False)
        self._transport.stop_accepting()
        self._local_transport.stop_accepting()

    def leave(self) -> None:
        """Make `main_loop` return, and `shutdown` wait until callers have moved to the new process.

        It waits without a limit, until `stop`.
        """
        self._hands_over = True
        self._stop.set()

    async def shutdown(self) -> None:
        """Accept no new calls, wait for those in flight, and release all resources.

        After `stop`, calls have the configured grace period; after `leave`, all the time they need.
        Health says NOT_SERVING, unless another process serves in its place. Health watchers are
        not waited for, because their streams never end by themselves.
        """
        if not self._hands_over:
            await self._health.leave()
            self._hurry.set()
        self._serves = False
        self._place(False)
        self.service.drain()
        grace = self.config.drain_seconds
        await asyncio.gather(
            self._transport.stop(grace, self._hurry, self.sla.give_up),
            self._local_transport.stop(grace, self._hurry),
        )
        if self._credentials is not None:
            self._credentials.stop_looking()
        if self._watch is not None:
            await self._watch.stop()
        await self._meter.stop()
        if self._telling is not None:
            self._telling.cancel()
            self.sla.books.leave(self.sla.place, self.service.own_statistics())
        await self.service.close()
        self._flight.close()
        self._desk.close()
        if self._auditor is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._auditor.close)
        if self._teachers is not None:
            self._teachers.stop()
        if self._fleet is not None:
            await self._fleet.stop()
        await self.sla.stop()

    async def _keep_telling(self) -> None:
        """Write this process's statistics to shared memory, for `GetStatistics` of any process."""
        book, before, quiet = self.sla.ledger.book, (-1, 0), 0
        while True:
            try:
                now = self.service.counted()
                quiet = quiet + 1 if now == before and not now[1] else 0
                before = now
                if quiet % QUIET_NOTES == 0:
                    book.says(self.service.own_statistics())
                tell_suppressed()
                self.sla.metering.is_nobodys()
            except Exception:  # a defect; a silent process would seem to hang
                log.exception("this process could not tell the others of itself")
            await asyncio.sleep(SECONDS_BETWEEN_NOTES)

    def _say(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        self._serves = status == SERVING
        self._place(self._serves)
        self._health.say(status)

    def _told_health(self, vitals: Vitals) -> None:
        """Show in the health service which tables can be answered.

        A worker that can answer none gets no new connections.
        """
        self._health.cannot(unable_names(vitals, SYNTHESIS, SERVICES_OF_TABLES))
        if self._serves:
            self._place(not vitals.all_unable)

    def _place(self, is_ready: bool) -> None:
        if self._placement is not None:
            self._placement.says_ready(is_ready)
