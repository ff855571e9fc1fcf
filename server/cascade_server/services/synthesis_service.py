"""The gRPC service: a thin shell of asyncio around `synthesis`.

Requests arrive as bytes and are parsed inside the call: what gRPC cannot parse by itself it answers
with UNKNOWN, which tells the caller nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, TypeAlias, TypeVar

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_server.cascade import synthesis
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.generate_job import GenerateJob
from cascade_server.cascade.repository import Repository
from cascade_server.cascade.synthesis import Drawn, Plan
from cascade_server.config import ServerConfig
from cascade_server.counts.calls import Call
from cascade_server.counts.live_versions import lot_of
from cascade_server.counts.sla import Sla
from cascade_server.deadline import Work
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.teacher import Teacher
from cascade_server.engines.triton.fleet import Fleet
from cascade_server.errors import NotReady, refusal_of
from cascade_server.objectives.report import OK
from cascade_server.services.generate import Ending, GenerateStream
from cascade_server.services.service_level import service_level
from cascade_server.services.stream import Stream, Turns
from cascade_server.services.table_description import describe
from cascade_server.services.together import CALLS_A_TURN, Together
from cascade_server.store.answers import Answers
from cascade_server.store.second_level import SecondLevel, SecondLevelConfig
from cascade_server.terms import ServiceClass, Tier

LOADING = "releases are still being loaded; ask the health service when they are"
NAME = pb.DESCRIPTOR.services_by_name["Synthesis"].full_name

T = TypeVar("T")
# grpc has no types; what is used of a context is time_remaining and abort.
Context: TypeAlias = Any


class Service:
    """Answers calls from a repository, which is given to it once it is loaded.

    Every `Synthesize` and `Generate` is counted against its objectives, however it ends.

    Args:
        config: how to serve.
        sla: where calls are counted.
        hurried: set once the server is to stop, and nobody serves in its place.

    Raises:
        ConfigError: the cache's URL is none.
    """

    def __init__(
        self, config: ServerConfig, sla: Sla, hurried: asyncio.Event | None = None
    ) -> None:
        self._config = config
        self._sla = sla
        self._repository: Repository | None = None
        self._dispatcher: Dispatcher | None = None
        self._answers: Answers | None = None
        self._fleet: Fleet | None = None
        self._second_level = None
        if config.cache_url is not None:
            timeout = config.cache_timeout_seconds
            self._second_level = SecondLevel(
                config.cache_url,
                config.cache_age_seconds,
                SecondLevelConfig(timeout=timeout, limit=max(timeout, SecondLevelConfig.limit)),
            )
        self._draining = asyncio.Event()
        self._hurried = hurried or asyncio.Event()
        # Offline answers are packed here: on the student's thread real-time ones would wait for it.
        self._packing = ThreadPoolExecutor(1, "packing")
        self._turns = Turns(self, CALLS_A_TURN)

    def handlers(self) -> grpc.GenericRpcHandler:
        """What gRPC needs to route calls here."""
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Synthesize": grpc.unary_unary_rpc_method_handler(
                    self.Synthesize, response_serializer=pb.SynthesizeResponse.SerializeToString
                ),
                "SynthesizeStream": grpc.stream_stream_rpc_method_handler(self.SynthesizeStream),
                "Generate": grpc.unary_stream_rpc_method_handler(
                    self.Generate, response_serializer=pb.GenerateResponse.SerializeToString
                ),
                "ListTables": grpc.unary_unary_rpc_method_handler(
                    self.ListTables, response_serializer=pb.ListTablesResponse.SerializeToString
                ),
                "DescribeTable": grpc.unary_unary_rpc_method_handler(
                    self.DescribeTable,
                    response_serializer=pb.DescribeTableResponse.SerializeToString,
                ),
                "GetStatistics": grpc.unary_unary_rpc_method_handler(
                    self.GetStatistics,
                    response_serializer=pb.GetStatisticsResponse.SerializeToString,
                ),
                "GetServiceLevel": grpc.unary_unary_rpc_method_handler(
                    self.GetServiceLevel,
                    response_serializer=pb.GetServiceLevelResponse.SerializeToString,
                ),
            },
        )

    def ready(
        self,
        repository: Repository,
        teachers: Callable[[Runtime], Teacher] | None = None,
        fleet: Fleet | None = None,
    ) -> None:
        """From now on calls are answered from `repository`.

        Args:
            repository: what is served.
            teachers: as for `Dispatcher`.
            fleet: runs all networks; None: they run on this machine.
        """
        self._repository, self._fleet = repository, fleet
        report, students = self._sla.ledger.report, None
        if fleet is not None:
            students, teachers = fleet.student, fleet.teacher
        self._dispatcher = Dispatcher(repository, self._config, report, teachers, students)
        self._dispatcher.stepping.start()
        self._answers = Answers(
            self._dispatcher, repository, self._config, self._sla.ledger, self._second_level
        )
        self._answers.start()

    def drain(self) -> None:
        """End standing streams once they have answered what they have read."""
        self._draining.set()

    async def close(self) -> None:
        """Let go of the threads; work that has not started is dropped."""
        if self._answers is not None:
            await self._answers.stop()
        if self._dispatcher is not None:
            self._dispatcher.close()
        self._packing.shutdown(wait=False, cancel_futures=True)

    @property
    def serving(self) -> bool:
        """Whether new calls are answered: releases are loaded, and it does not drain."""
        return self._repository is not None and not self._draining.is_set()

    @property
    def repository(self) -> Repository:
        """The loaded releases.

        Raises:
            NotReady: they are still being loaded.
        """
        if self._repository is None:
            raise NotReady(LOADING)
        return self._repository

    @property
    def dispatcher(self) -> Dispatcher:
        """Who draws.

        Raises:
            NotReady: releases are still being loaded.
        """
        if self._dispatcher is None:
            raise NotReady(LOADING)
        return self._dispatcher

    @property
    def answers(self) -> Answers:
        """Where answers come from.

        Raises:
            NotReady: releases are still being loaded.
        """
        if self._answers is None:
            raise NotReady(LOADING)
        return self._answers

    def own_statistics(self) -> pb.GetStatisticsResponse:
        """Of this process.

        Raises:
            NotReady: releases are still being loaded.
        """
        out = self.dispatcher.statistics()
        self.answers.describe(out)
        if self._fleet is not None:
            self._fleet.describe(out)
        calls = int(self._sla.ledger.book.calls.durations.sum())
        out.workers.add(pid=os.getpid(), inside=out.inside, limit=out.limit, calls=calls)
        return out

    def statistics(self) -> pb.GetStatisticsResponse:
        """Of all processes of the server; those of the others half a second old at most."""
        return self._sla.books.statistics(self.own_statistics(), self._sla.place)

    async def Synthesize(self, message: bytes, context: Context) -> pb.SynthesizeResponse:
        call = self._sla.call(ServiceClass.REALTIME)
        try:
            request = pb.SynthesizeRequest.FromString(message)
            work = Work.within(context.time_remaining(), request.timeout_microseconds)
            call.asks(request.table, synthesis.class_of(request), work.deadline)
            job = self.plan(request, work)
            call.of(job.version)
            response, tier = await self.answers.to(job)
            call.sends(tier, job.total)
            call.ends(OK)
            return response
        except asyncio.CancelledError:
            call.hung_up()
            raise
        except Exception as exc:
            return await refuse(context, exc, call)

    async def SynthesizeStream(self, _: Any, context: Context) -> None:
        try:
            if self._answers is None:
                # A client of grpc.aio whose first message meets a call that has ended says
                # INTERNAL, whatever the call ended with.
                await context.read()
            _ = self.answers
            stream = Stream(self, self._turns, context, self._config.max_stream_in_flight)
            await stream.run(self._draining)
        except Exception as exc:
            await refuse(context, exc)

    def call(self, arrived: float | None = None) -> Call:
        """A real-time call, or a request of a stream, that is to be counted."""
        return self._sla.call(ServiceClass.REALTIME, arrived)

    def grouped(self) -> dict[str, Together]:
        """Who takes calls that came together, by path."""
        return {f"/{NAME}/Synthesize": Together(self)}

    def plan(self, request: pb.SynthesizeRequest, work: Work, offline: bool = False) -> Plan:
        """Check a request and encode what it gives; see `synthesis.plan`."""
        runtime = self.repository.find(request.table, request.version, lot(request))
        return synthesis.plan(request, runtime, work, self._config.max_rows, offline)

    def room(self) -> int:
        """How many more real-time requests would be admitted now."""
        return self.dispatcher.gate.room()

    def admit(self, waiting: int, remaining: float) -> None:
        """See `Gate.admit`; while releases are being loaded all may wait, to be told so."""
        if self._dispatcher is not None:
            self._dispatcher.gate.admit(waiting, remaining)

    def turned(self, seconds: float, left: int) -> None:
        """See `Gate.turned`."""
        if self._dispatcher is not None:
            self._dispatcher.gate.turned(seconds, left)

    def took(self, seconds: float, waiting: int) -> None:
        """See `Gate.learn`."""
        self.dispatcher.gate.learn(seconds, waiting)

    def draw_now(self, jobs: Sequence[Plan]) -> list[Drawn | None]:
        """See `Answers.draw_now`."""
        return self.answers.draw_now(jobs)

    async def answer(self, job: Plan) -> tuple[pb.SynthesizeResponse, Tier]:
        """See `Answers.to`."""
        return await self.answers.to(job)

    async def Generate(
        self, message: bytes, context: Context
    ) -> AsyncIterator[pb.GenerateResponse]:
        call = self._sla.call(ServiceClass.OFFLINE)
        try:
            request = pb.GenerateRequest.FromString(message)
            work = Work.within(context.time_remaining())
            call.asks(request.table, ServiceClass.OFFLINE, work.deadline)
            runtime = self.repository.find(request.table, request.version, lot(request))
            call.of(runtime.version)
            job = GenerateJob.check(
                request,
                runtime,
                work,
                self._config.max_generate_rows,
                self._config.chunk_rows,
            )
            ending = Ending(self._hurried, self._config.drain_seconds)
            messages = GenerateStream(job, self.dispatcher.draw_chunk, self._packing, ending)
            async with aclosing(messages.run()) as parts:
                async for part in parts:
                    call.sends(Tier.TEACHER, part.rows.count)
                    call.pause()
                    yield part
                    call.resume()
            call.ends(OK)
        except (asyncio.CancelledError, GeneratorExit):
            call.hung_up()
            raise
        except Exception as exc:
            await refuse(context, exc, call)

    async def ListTables(self, message: bytes, context: Context) -> pb.ListTablesResponse:
        try:
            pb.ListTablesRequest.FromString(message)
            response = pb.ListTablesResponse()
            for name, versions in self.repository.tables.items():
                columns = self.repository.find(name).columns
                response.tables.add(table=name, versions=versions, columns=columns)
            return response
        except Exception as exc:
            return await refuse(context, exc)

    async def DescribeTable(self, message: bytes, context: Context) -> pb.DescribeTableResponse:
        try:
            request = pb.DescribeTableRequest.FromString(message)
            runtime = self.repository.find(request.table, request.version)
            releases = {
                version: each.release.manifest
                for version, each in self.repository.versions(request.table).items()
                if request.version in (0, version)
            }
            response = pb.DescribeTableResponse(table=request.table)
            describe(response, runtime.release.codec.schema, releases)
            return response
        except Exception as exc:
            return await refuse(context, exc)

    async def GetStatistics(self, message: bytes, context: Context) -> pb.GetStatisticsResponse:
        try:
            pb.GetStatisticsRequest.FromString(message)
            return self.statistics()
        except Exception as exc:
            return await refuse(context, exc)

    async def GetServiceLevel(self, message: bytes, context: Context) -> pb.GetServiceLevelResponse:
        try:
            pb.GetServiceLevelRequest.FromString(message)
            ledger = self._sla.ledger
            return service_level(ledger.report(), ledger.latencies())
        except Exception as exc:
            return await refuse(context, exc)

    async def elsewhere(self, do: Callable[[], T]) -> T:
        """Pack a large answer on the student's thread, out of the event loop's way."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.dispatcher.student_thread, do)


def lot(request: pb.SynthesizeRequest | pb.GenerateRequest) -> float:
    """Decides between a stable version and a canary, where none is named."""
    if request.version:
        return 1.0
    return lot_of(request.seed if request.HasField("seed") else None)


async def refuse(context: Context, error: Exception, call: Call | None = None) -> Any:
    """End a call with the status its error stands for; never a stack trace on the wire."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    refusal = refusal_of(error)
    if call is not None:
        call.ends(refusal.code)
    if refusal.pushback_ms is not None:
        pushback = ("grpc-retry-pushback-ms", str(refusal.pushback_ms))
        context.set_trailing_metadata((pushback,))
    await context.abort(refusal.code, refusal.message)
