"""The gRPC service `cascade.v1.Jobs`: a thin layer over the ledger.

Methods catch `Exception` because errors of a ledger, of a store's package and of a policy have no
base class in common; `refuse` turns each into a status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
from cascade_jobs.errors import UnknownJob
from cascade_jobs.ledger import Asked
from cascade_jobs.outputs import checked_output
from cascade_proto import jobs_pb2 as pb

from cascade_server.access.asking import asking
from cascade_server.config import ServerConfig
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import BadRequest, NotReady
from cascade_server.jobs.desk import Desk
from cascade_server.jobs.messages import job_message
from cascade_server.jobs.submission import asked_of
from cascade_server.services.synthesis_service import Service
from cascade_server.services.unary import Context, refuse
from cascade_server.transport import first_of

NAME = pb.DESCRIPTOR.services_by_name["Jobs"].full_name
# Seconds between polls of a watched job.
WATCH_SECONDS = 0.25
LISTED, MOST_LISTED = 100, 10_000
STOPPING = "the server is stopping; the job goes on with the next one: watch it again"


class JobsService:
    """Answers calls from the ledger.

    Args:
        service: has the releases of the jobs.
        desk: reads and writes the ledger.
        config: the server's configuration.
        may_be_anywhere: whether callers here are the user that the server runs as, and may have
            results written wherever that user may write.
        stopping: set once the server begins to stop.
    """

    def __init__(
        self,
        service: Service,
        desk: Desk,
        config: ServerConfig,
        may_be_anywhere: bool,
        stopping: asyncio.Event,
    ) -> None:
        self._service, self._desk, self._config = service, desk, config
        self._may_be_anywhere, self._stopping = may_be_anywhere, stopping

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers that gRPC routes calls to."""
        streams = {"WatchJob", "ReadResult"}
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                method.name: (
                    grpc.unary_stream_rpc_method_handler
                    if method.name in streams
                    else grpc.unary_unary_rpc_method_handler
                )(
                    getattr(self, method.name),
                    response_serializer=getattr(pb, method.output_type.name).SerializeToString,
                )
                for method in pb.DESCRIPTOR.services_by_name["Jobs"].methods
            },
        )

    async def SubmitJob(self, message: bytes, context: Context) -> pb.Job:
        try:
            request = pb.SubmitJobRequest.FromString(message)
            # First, before the slow checks.
            checked_output(request.output, self._may_be_anywhere, self._config.job_outputs)
            runtime = self._service.repository.find(request.table, request.version)
            asked = await asyncio.get_running_loop().run_in_executor(
                None, self._asked, request, runtime
            )
            allowance = self._service.allowance
            if allowance is None:
                job, was_there = await self._desk.submit(asked)
            else:
                async with allowance.job(asking(), asked.specification.rows) as hold:
                    job, was_there = await self._desk.submit(asked)
                    hold.is_new = not was_there
            return job_message(job, reused=was_there)
        except Exception as exc:
            refused: pb.Job = await refuse(context, exc)
            return refused

    def _asked(self, request: pb.SubmitJobRequest, runtime: Runtime) -> Asked:
        terms = self._desk.terms(request.table)
        return asked_of(request, runtime, self._config, self._may_be_anywhere, terms)

    async def GetJob(self, message: bytes, context: Context) -> pb.Job:
        try:
            request = pb.GetJobRequest.FromString(message)
            if request.with_files:
                job, parts = await self._desk.job_and_parts(request.id)
                return job_message(job, parts=parts, decisions=self._desk.decisions(job))
            job = await self._desk.job(request.id)
            return job_message(job, decisions=self._desk.decisions(job))
        except Exception as exc:
            refused: pb.Job = await refuse(context, exc)
            return refused

    async def WatchJob(self, message: bytes, context: Context) -> AsyncIterator[pb.Job]:
        try:
            request = pb.WatchJobRequest.FromString(message)
            told = None
            while True:
                job = await self._desk.job(request.id)
                if job != told:
                    told = job
                    yield job_message(job)
                if job.state.is_final:
                    return
                if self._stopping.is_set():
                    raise NotReady(STOPPING)
                await first_of(asyncio.sleep(WATCH_SECONDS), self._stopping.wait())
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as exc:
            await refuse(context, exc)

    async def CancelJob(self, message: bytes, context: Context) -> pb.Job:
        try:
            request = pb.CancelJobRequest.FromString(message)
            return job_message(await self._desk.cancel(request.id))
        except Exception as exc:
            refused: pb.Job = await refuse(context, exc)
            return refused

    async def ListJobs(self, message: bytes, context: Context) -> pb.ListJobsResponse:
        try:
            request = pb.ListJobsRequest.FromString(message)
            if request.limit > MOST_LISTED:
                raise BadRequest(f"limit is {request.limit:,}; allowed: 0 to {MOST_LISTED:,}")
            jobs = await self._desk.jobs(request.limit or LISTED)
            return pb.ListJobsResponse(jobs=map(job_message, jobs))
        except Exception as exc:
            refused: pb.ListJobsResponse = await refuse(context, exc)
            return refused

    async def ReadResult(
        self, message: bytes, context: Context
    ) -> AsyncIterator[pb.ReadResultResponse]:
        try:
            request = pb.ReadResultRequest.FromString(message)
            job, parts = await self._desk.job_and_parts(request.id)
            # Only names from the ledger are read, so that no request can leave the output folder.
            part = next((each for each in parts if each.name == request.name), None)
            if part is None:
                raise UnknownJob(
                    f"job {job.id} has no file {request.name[:80]!r} that is whole; GetJob with "
                    "with_files names those that are"
                )
            offset = request.offset
            while data := await self._desk.read(job, part, offset):
                offset += len(data)
                yield pb.ReadResultResponse(data=data, bytes=part.bytes)
                if self._stopping.is_set() and offset < part.bytes:
                    raise NotReady(f"the server is stopping; read on from offset={offset}")
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as exc:
            await refuse(context, exc)
