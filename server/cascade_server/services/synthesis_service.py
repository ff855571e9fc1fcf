"""The gRPC service `cascade.v1.Synthesis`, and the state that its methods answer from.

Requests arrive as bytes and the methods parse them: if gRPC itself failed to parse a message, it
would answer UNKNOWN, which tells the caller nothing. gRPC would do the same with an exception that
a method raises, so methods catch `Exception` and `refuse` chooses the status.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
from cascade_proto import synthesis_pb2 as pb
from google.protobuf.message import Message

from cascade_server.access.access import Access
from cascade_server.access.asking import asking
from cascade_server.access.grants import Caller
from cascade_server.access.refusals import refusal_for
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.gate import Gate
from cascade_server.cascade.generate_job import GenerateJob
from cascade_server.cascade.repository import Repository
from cascade_server.config import ServerConfig
from cascade_server.counts.outside_counts import OutsideCounts
from cascade_server.counts.shared.live_versions import lot_of
from cascade_server.counts.sla import Sla
from cascade_server.counts.usage import usage_of
from cascade_server.deadline import Work
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.teacher import Teacher
from cascade_server.engines.triton.fleet import Fleet
from cascade_server.errors import NotReady, Refusal
from cascade_server.health.ability import Vitals
from cascade_server.health.checkup import Checkup
from cascade_server.objectives.report import OK
from cascade_server.services.allowance import Allowance
from cascade_server.services.answering import Answering, Serving
from cascade_server.services.exchange import RequestMessage
from cascade_server.services.generate import Ending, GenerateStream, counted_part
from cascade_server.services.guarded import only_seen, still_asks
from cascade_server.services.service_level import service_level
from cascade_server.services.stream import Stream
from cascade_server.services.synthesize_message import Sent, SynthesizeMessage
from cascade_server.services.table_description import describe
from cascade_server.services.turns import Turns
from cascade_server.services.unary import Context, UnaryCalls, begin_trace, refuse
from cascade_server.store.answers import Answers
from cascade_server.store.second_level import SecondLevel, SecondLevelConfig
from cascade_server.telemetry.telemetry import OFF, Telemetry
from cascade_server.terms import ServiceClass, Tier
from cascade_server.transport.http2.headers import Fields

LOADING = (
    "releases are still being loaded; `Client.wait_ready` and the health service say when they are"
)
NAME = pb.DESCRIPTOR.services_by_name["Synthesis"].full_name
TELLING = ("ListTables", "DescribeTable", "GetStatistics", "GetUsage", "GetServiceLevel")
STREAM = f"/{NAME}/SynthesizeStream"


class Service:
    """Answers calls from a repository, which `ready` sets once it is loaded.

    Every `Synthesize` and `Generate` is counted against its objectives, however it ends.

    Args:
        config: the server's configuration.
        sla: counts calls.
        hurried: set once the server begins to stop without a successor.
        told_health: called with what can be answered, whenever that changes.
        access: decides who may call; None: anybody may.
        telemetry: receives traces and other records of calls, beside their counts.

    Raises:
        ConfigError: the URL of the cache is invalid.
    """

    def __init__(
        self,
        config: ServerConfig,
        sla: Sla,
        hurried: asyncio.Event | None = None,
        told_health: Callable[[Vitals], None] = lambda _: None,
        access: Access | None = None,
        telemetry: Telemetry = OFF,
    ) -> None:
        self._config, self._access = config, access
        self._tracer = telemetry.tracer
        self.allowance = None if access is None else Allowance(access)
        self._sla = sla
        self._serving: Serving | None = None
        self.checkup: Checkup | None = None
        self._told_health = told_health
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
        # Packs offline answers; on the student's thread they would delay real-time ones.
        self._packing = ThreadPoolExecutor(1, "packing")
        call = partial(sla.call, ServiceClass.REALTIME)
        self._outside = OutsideCounts()
        self.answering = Answering(
            self.loaded,
            call,
            config,
            self._outside,
            sla.metering,
            tracer=self._tracer,
            allowance=self.allowance,
        )
        self._turns = Turns(self.answering, self._gate)
        self._calls = self.unary(SynthesizeMessage, f"/{NAME}/Synthesize")

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers that gRPC routes calls to."""
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Synthesize": grpc.unary_unary_rpc_method_handler(self.Synthesize),
                "SynthesizeStream": grpc.stream_stream_rpc_method_handler(self.SynthesizeStream),
                "Generate": grpc.unary_stream_rpc_method_handler(
                    self.Generate, response_serializer=pb.GenerateResponse.SerializeToString
                ),
                **{name: self._telling(name) for name in TELLING},
            },
        )

    def _telling(self, name: str) -> Any:
        return grpc.unary_unary_rpc_method_handler(getattr(self, name), None, _serialized)

    def ready(
        self,
        repository: Repository,
        teachers: Callable[[Runtime], Teacher] | None = None,
        fleet: Fleet | None = None,
    ) -> None:
        """Start to answer calls from `repository`.

        Args:
            repository: the loaded releases.
            teachers: as for `Dispatcher`.
            fleet: runs all networks; None: they run on this machine.
        """
        self._fleet = fleet
        report, students = self._sla.ledger.report, None
        if fleet is not None:
            students, teachers = fleet.student, fleet.teacher
        dispatcher = Dispatcher(repository, self._config, report, teachers, students)
        dispatcher.stepping.start()
        answers = Answers(
            dispatcher,
            repository,
            self._config,
            self._sla.ledger,
            self._second_level,
            self._sla.metering,
        )
        answers.start()
        self._serving = Serving(repository, dispatcher, answers)
        self.checkup = Checkup(
            dispatcher,
            repository,
            self._sla.ledger.book.calls,
            self._told_health,
            own_networks=fleet is None,
        )
        self.checkup.start()

    def can_answer(self, table: str = "") -> bool:
        """Return whether new calls are answered, for one table or for any; see `health.ability`."""
        checkup = self.checkup
        return self.serving and checkup is not None and checkup.vitals.can_answer(table)

    def drain(self) -> None:
        """End standing streams, once they have answered the requests that they have read."""
        self._draining.set()

    async def close(self) -> None:
        """Stop the threads; drop work that has not started."""
        if self.checkup is not None:
            await self.checkup.stop()
        if self._serving is not None:
            await self._serving.answers.stop()
            self._serving.dispatcher.close()
        self._packing.shutdown(wait=False, cancel_futures=True)

    @property
    def serving(self) -> bool:
        """Whether new calls are answered: releases are loaded and the server does not drain."""
        return self._serving is not None and not self._draining.is_set()

    def loaded(self) -> Serving:
        """Return the parts that answer.

        Raises:
            NotReady: releases are still being loaded.
        """
        if self._serving is None:
            raise NotReady(LOADING)
        return self._serving

    @property
    def repository(self) -> Repository:
        """The loaded releases that the current caller may see; raises as `loaded`."""
        return self.seen_by(asking())

    def seen_by(self, caller: Caller) -> Repository:
        """Return the loaded releases that a caller may see; raises as `loaded`."""
        return self.loaded().repository.restricted_to(caller.grant.tables)

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher, which draws rows; raises as `loaded`."""
        return self.loaded().dispatcher

    @property
    def answers(self) -> Answers:
        """The source of answers; raises as `loaded`."""
        return self.loaded().answers

    def _gate(self) -> Gate | None:
        return None if self._serving is None else self._serving.gate

    def unary(self, message: Callable[[Sent, Caller], RequestMessage], method: str) -> UnaryCalls:
        """Have the calls of a method answered in the turns that all requests share.

        Args:
            message: creates the reader and writer of a call from its message and its caller.
        """
        identify = None if self._access is None else self._identify
        return UnaryCalls(self._turns, self._sla, message, method, identify, self._tracer)

    def _identify(self, headers: Fields, certificate_names: tuple[str, ...]) -> Caller | Refusal:
        assert self._access is not None
        found = self._access.caller(headers, certificate_names)
        return found if isinstance(found, Caller) else refusal_for(found)

    def grouped(self) -> dict[str, UnaryCalls]:
        """Return, by path, the receivers of calls that are answered in turns."""
        return {f"/{NAME}/Synthesize": self._calls}

    def own_statistics(self) -> pb.GetStatisticsResponse:
        """Return the statistics of this process.

        Raises:
            NotReady: releases are still being loaded.
        """
        out = self.dispatcher.statistics()
        self.answers.describe(out)
        self._outside.describe(out)
        if self._fleet is not None:
            self._fleet.describe(out)
        calls = int(self._sla.ledger.book.calls.durations.sum())
        out.workers.add(pid=os.getpid(), inside=out.inside, limit=out.limit, calls=calls)
        return out

    def kept_bytes(self) -> tuple[int, int]:
        """Return the bytes that the pool and the cache hold."""
        if self._serving is None:
            return 0, 0
        answers = self._serving.answers
        pool, cache = answers.pooled, answers.cached
        return pool.pool.bytes if pool else 0, cache.cache.bytes if cache else 0

    def counted(self) -> tuple[int, int]:
        """Return the numbers of ended calls and of calls in progress.

        While neither changes and none is in progress, `own_statistics` hardly changes.
        """
        ended = int(self._sla.ledger.book.calls.durations.sum())
        return ended, sum(self.dispatcher.gate.inside.values())

    def statistics(self) -> pb.GetStatisticsResponse:
        """Return the statistics of all processes of the server.

        Those of other processes are half a second old at most, or two seconds while they are idle.
        """
        return self._sla.books.statistics(self.own_statistics(), self._sla.place)

    async def Synthesize(self, message: bytes, context: Context) -> bytes:
        return await self._calls.handle(message, context)

    async def SynthesizeStream(self, _: Any, context: Context) -> None:
        try:
            if self._serving is None:
                # If the call ends before the first message of a grpc.aio client arrives, the
                # client reports INTERNAL, whatever status the call ended with.
                await context.read()
            self.loaded()
            access = self._access
            stream = Stream(
                self.answering,
                self._turns,
                context,
                self._config.max_stream_in_flight,
                STREAM,
                identify=asking if access is None else still_asks(access, context, STREAM),
                allowance=self.allowance,
            )
            await stream.run(self._draining)
        except Exception as exc:
            await refuse(context, exc)

    async def Generate(
        self, message: bytes, context: Context
    ) -> AsyncIterator[pb.GenerateResponse]:
        call, metering = self._sla.call(ServiceClass.OFFLINE), self._sla.metering
        trace = begin_trace(self._tracer, call, context, f"/{NAME}/Generate")
        try:
            call.tenant = asking().tenant
            request = pb.GenerateRequest.FromString(message)
            work = Work.from_remaining(context.time_remaining())
            offline, rows = ServiceClass.OFFLINE, request.count
            call.asks(request.table, offline, work.deadline, rows, least=Tier.TEACHER)
            seed = request.seed if request.HasField("seed") else None
            lot = 1.0 if request.version else lot_of(seed)
            runtime = self.repository.find(request.table, request.version, lot)
            call.answers_with(runtime.version)
            job = GenerateJob.check(
                request,
                runtime,
                work,
                self._config.max_generate_rows,
                self._config.chunk_rows,
            )
            if trace is not None:
                trace.mark("read")
            caller, allowance = asking(), self.allowance
            if allowance is not None:
                allowance.check(caller)
            ending = Ending(self._hurried, self._config.drain_seconds)
            messages = GenerateStream(
                job, self.dispatcher.draw_chunk, self._packing, ending, spent=job.spent
            )
            async with aclosing(messages.run()) as parts:
                async for part in parts:
                    rows = part.rows.count
                    call.sends(Tier.TEACHER, rows)
                    metering.add(counted_part(job, rows, call.tenant))
                    wait = 0.0 if allowance is None else allowance.drawn(caller, rows)
                    call.pause()
                    yield part
                    if allowance is not None and part.done < part.total:
                        await allowance.paced(caller, wait)
                    call.resume()
            if trace is not None:
                trace.mark("stream")
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
            most = asking().grant.max_rows or self._config.max_rows
            config = replace(self._config, max_rows=min(most, self._config.max_rows))
            describe(response, runtime.release.codec.schema, releases, config)
            return response
        except Exception as exc:
            return await refuse(context, exc)

    async def GetStatistics(self, message: bytes, context: Context) -> pb.GetStatisticsResponse:
        try:
            pb.GetStatisticsRequest.FromString(message)
            response = self.statistics()
            only_seen(response, asking())
            return response
        except Exception as exc:
            return await refuse(context, exc)

    async def GetUsage(self, message: bytes, context: Context) -> pb.GetUsageResponse:
        try:
            pb.GetUsageRequest.FromString(message)
            books = self._sla.books
            response = usage_of(books).as_message(books.clock.wall(), books.tables)
            only_seen(response, asking())
            return response
        except Exception as exc:
            return await refuse(context, exc)

    async def GetServiceLevel(self, message: bytes, context: Context) -> pb.GetServiceLevelResponse:
        try:
            pb.GetServiceLevelRequest.FromString(message)
            ledger = self._sla.ledger
            faults = self._sla.caller_faults()
            response = service_level(ledger.report(), ledger.latencies(), faults)
            only_seen(response, asking())
            return response
        except Exception as exc:
            return await refuse(context, exc)


def _serialized(response: Message) -> bytes:
    return response.SerializeToString()
