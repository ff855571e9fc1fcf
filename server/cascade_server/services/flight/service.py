"""The gRPC service `arrow.flight.protocol.FlightService`: jobs are flights, files are endpoints.

The protocol is the one that Arrow publishes; its messages are in `cascade_proto/flight.proto`.

Methods catch `Exception` because errors of a ledger, of a store's package and of pyarrow have no
base class in common; `refuse` turns each into a status.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import grpc
from cascade_jobs.errors import AlreadyEnded, UnknownJob
from cascade_jobs.job import Job, Part
from cascade_proto import flight_pb2 as pb
from cascade_tables.errors import listing, shown

from cascade_server.config import ServerConfig
from cascade_server.errors import BadRequest, NotAllowed, ServerError
from cascade_server.jobs.desk import Desk
from cascade_server.services.flight.files import schema_message
from cascade_server.services.flight.infos import info_of, poll_info_of
from cascade_server.services.flight.names import Asked, asked_of, job_of, table_of
from cascade_server.services.flight.results import Results
from cascade_server.services.flight.schemas import schema_of
from cascade_server.services.flight.watching import Watching, check_results, has_results
from cascade_server.services.synthesis_service import Service
from cascade_server.services.unary import Context, refuse
from cascade_server.transport import Parts

log = logging.getLogger("cascade.server")

SERVICE = pb.DESCRIPTOR.services_by_name["FlightService"]
NAME = SERVICE.full_name
MOST_LISTED = 1000
HAS_ARROW = importlib.util.find_spec("pyarrow") is not None
NO_ARROW = (
    "this server cannot read results, for which it needs pyarrow; `pip install "
    "cascade-synthesis[jobs]` where it runs"
)
NO_HANDSHAKE = (
    "this server has no handshake; leave out authenticate(), and send `authorization: Bearer KEY` "
    "with each call where it asks who you are: "
    'FlightCallOptions(headers=[(b"authorization", b"Bearer ...")])'
)
READ_ONLY = (
    "this server takes no rows: flights are the results of jobs, which SubmitJob or `cascade jobs "
    "submit` asks for; read them with DoGet"
)
CANCEL = "CancelFlightInfo"
ACTIONS = {CANCEL: "End a job that has not ended; what it has made so far is removed."}


class FlightService:
    """Answers Flight clients from the ledger and from the files that jobs have made.

    Args:
        service: has the releases of the jobs.
        desk: reads and writes the ledger.
        config: the server's configuration.
        stopping: set once the server begins to stop; calls that wait for a job then end.
    """

    def __init__(
        self, service: Service, desk: Desk, config: ServerConfig, stopping: asyncio.Event
    ) -> None:
        self._service, self._desk, self._config = service, desk, config
        self._results, self._watching = Results(desk), Watching(desk, stopping)

    def close(self) -> None:
        """Stop the threads that read results."""
        self._watching.close()
        self._results.close()

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers that gRPC routes calls to."""
        found = {}
        for method in SERVICE.methods:
            behaviour = getattr(self, method.name)
            if method.client_streaming:
                found[method.name] = grpc.stream_stream_rpc_method_handler(behaviour)
            elif method.server_streaming:
                found[method.name] = grpc.unary_stream_rpc_method_handler(
                    behaviour, response_serializer=_serialized
                )
            else:
                found[method.name] = grpc.unary_unary_rpc_method_handler(
                    behaviour, response_serializer=_serialized
                )
        return grpc.method_handlers_generic_handler(NAME, found)

    # Listing jobs.

    async def ListFlights(self, message: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            table = table_of(pb.Criteria.FromString(message))
            for job in await self._desk.jobs(MOST_LISTED):
                if has_results(job) and table in ("", job.specification.table):
                    with suppress(UnknownJob):  # the ledger has dropped it meanwhile
                        yield await self._info(job, await self._schema_if_any(job))
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as exc:
            await refuse(context, exc)

    async def GetFlightInfo(self, message: bytes, context: Context) -> bytes:
        try:
            name, _ = job_of(pb.FlightDescriptor.FromString(message))
            job = await self._desk.job(name)
            check_results(job)
            return await self._info(job, await self._encapsulated(job))
        except Exception as exc:
            refused: bytes = await refuse(context, exc)
            return refused

    async def PollFlightInfo(self, message: bytes, context: Context) -> bytes:
        try:
            name, known = job_of(pb.FlightDescriptor.FromString(message))
            while True:
                job, files = await self._desk.job_and_leading(name)
                check_results(job)
                if known is None or files > known or files == len(job.plan):
                    break
                await self._watching.changed(job)
            schema, kept = await self._encapsulated(job), self._config.job_seconds
            return await self._results.in_thread(
                lambda: poll_info_of(job, schema, kept, files).SerializeToString()
            )
        except Exception as exc:
            refused: bytes = await refuse(context, exc)
            return refused

    async def GetSchema(self, message: bytes, context: Context) -> pb.SchemaResult:
        try:
            name, _ = job_of(pb.FlightDescriptor.FromString(message))
            job = await self._desk.job(name)
            check_results(job)
            schema = await self._schema_or_wait(job)
            return pb.SchemaResult(schema=schema.serialize().to_pybytes())
        except Exception as exc:
            refused: pb.SchemaResult = await refuse(context, exc)
            return refused

    async def _info(self, job: Job, schema: bytes) -> bytes:
        kept = self._config.job_seconds
        return await self._results.in_thread(lambda: info_of(job, schema, kept).SerializeToString())

    async def _schema_if_any(self, job: Job) -> bytes:
        """Return a job's schema for a list, or nothing if its files are gone or replaced.

        One such job must not end the whole list.
        """
        try:
            return await self._encapsulated(job)
        except UnknownJob:
            raise
        except Exception as exc:
            if not HAS_ARROW:
                raise
            log.info("job %s is listed without its schema: %s", job.id, exc)
            return b""

    async def _encapsulated(self, job: Job) -> bytes:
        """Return a job's serialized schema; empty if it is not known yet."""
        schema = await self._schema(job)
        return b"" if schema is None else schema.serialize().to_pybytes()

    async def _schema(self, job: Job) -> Any:
        if not HAS_ARROW:
            raise NotAllowed(NO_ARROW)
        return await self._results.schema(job, partial(self._derived, job))

    def _derived(self, job: Job) -> Any:
        """Derive a job's schema from its release; return None if that is not loaded here."""
        made = job.specification
        try:
            runtime = self._service.repository.find(made.table, made.version)
        except ServerError:
            return None
        if runtime.release.manifest.digest != made.release:
            return None
        return schema_of(runtime, made)

    async def _schema_or_wait(self, job: Job) -> Any:
        while (schema := await self._schema(job)) is None:
            job = await self._watching.changed(job)
            check_results(job)
        return schema

    # Rows.

    async def DoGet(self, message: bytes, context: Context) -> AsyncIterator[Parts]:
        try:
            asked = asked_of(pb.Ticket.FromString(message))
            job = await self._desk.job(asked.job)
            check_results(job)
            shards = self._shards(job, asked)
            yield schema_message(await self._schema_or_wait(job))
            for number in shards:
                job, part = await self._whole(job, number)
                async with aclosing(self._results.rows(job, part)) as messages:
                    async for each in messages:
                        yield each
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as exc:
            await refuse(context, exc)

    def _shards(self, job: Job, asked: Asked) -> range:
        if asked.shard is None:
            return range(len(job.plan))
        if asked.shard >= len(job.plan):
            raise UnknownJob(
                f"job {job.id} has no file {asked.shard}; it has {len(job.plan)}, from 0 on"
            )
        return range(asked.shard, asked.shard + 1)

    async def _whole(self, job: Job, number: int) -> tuple[Job, Part]:
        """Wait until a file of a job is complete, and return it."""
        while True:
            job, part = await self._desk.job_and_part(job.id, number)
            check_results(job)
            if part is not None:
                return job, part
            await self._watching.changed(job)

    # Actions.

    async def ListActions(self, message: bytes, context: Context) -> AsyncIterator[pb.ActionType]:
        for kind, description in ACTIONS.items():
            yield pb.ActionType(type=kind, description=description)

    async def DoAction(self, message: bytes, context: Context) -> AsyncIterator[pb.Result]:
        try:
            action = pb.Action.FromString(message)
            if action.type != CANCEL:
                raise BadRequest(
                    f"action is {shown(action.type[:80])}; allowed: {listing(ACTIONS)}"
                )
            name, _ = job_of(
                pb.CancelFlightInfoRequest.FromString(action.body).info.flight_descriptor
            )
            status = await self._cancelled(name)
            yield pb.Result(body=pb.CancelFlightInfoResult(status=status).SerializeToString())
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as exc:
            await refuse(context, exc)

    async def _cancelled(self, name: str) -> pb.CancelStatus.ValueType:
        try:
            await self._desk.cancel(name)
        except AlreadyEnded:
            return pb.CANCEL_STATUS_NOT_CANCELLABLE
        return pb.CANCEL_STATUS_CANCELLED

    # Methods that are not supported.

    async def Handshake(self, _: Any, context: Context) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, NO_HANDSHAKE)

    async def DoPut(self, _: Any, context: Context) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, READ_ONLY)

    async def DoExchange(self, _: Any, context: Context) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, READ_ONLY)


def _serialized(message: Any) -> bytes:
    return bytes(message) if isinstance(message, bytes | Parts) else message.SerializeToString()
