"""The gRPC service `inference.GRPCInferenceService`: a thin layer over the models.

Methods catch `Exception` so that `refuse` chooses the status for a defect too: Triton's clients
show their users only the status and its message.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from importlib.metadata import version as version_of
from typing import TypeVar

import grpc
from cascade_proto import inference_pb2 as pb
from google.protobuf.message import Message

from cascade_server.access.auditing import Auditor
from cascade_server.config import ServerConfig
from cascade_server.counts.sla import Sla
from cascade_server.errors import NotAllowed, UnknownTable
from cascade_server.services.open_inference import index, models, statistics
from cascade_server.services.open_inference.infer_message import InferMessage
from cascade_server.services.releases_service import asked
from cascade_server.services.synthesis_service import Service
from cascade_server.services.unary import Context, UnaryCalls, refuse
from cascade_server.supervision.control import Control
from cascade_server.terms import Tier

NAME = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
SERVER = "cascade"
EXTENSIONS = ("model_repository", "parameters", "schedule_policy", "statistics")
METHODS = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods


Answer = TypeVar("Answer", bound=Message)


class InferenceService:
    """Answers the protocol's calls with the parts that answer `Synthesize`.

    Every `ModelInfer` counts against its table's objectives, in the class of service it requests.
    """

    def __init__(
        self,
        service: Service,
        sla: Sla,
        config: ServerConfig,
        control: Control | None = None,
        auditor: Auditor | None = None,
    ) -> None:
        self._service, self._sla, self._config = service, sla, config
        self._control, self._auditor = control, auditor
        self._calls = service.unary(
            partial(InferMessage, service.seen_by, config.max_rows), f"/{NAME}/ModelInfer"
        )

    def grouped(self) -> dict[str, UnaryCalls]:
        """Return, by path, the receivers of calls that are answered in turns."""
        return {f"/{NAME}/ModelInfer": self._calls}

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers that gRPC routes calls to."""
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                method.name: grpc.unary_unary_rpc_method_handler(
                    getattr(self, method.name),
                    response_serializer=_serialized,
                )
                for method in METHODS
            },
        )

    async def ServerLive(self, message: bytes, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, message: bytes, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._service.can_answer())

    async def ModelReady(self, message: bytes, context: Context) -> pb.ModelReadyResponse:
        def ready() -> pb.ModelReadyResponse:
            request = pb.ModelReadyRequest.FromString(message)
            if not self._service.serving:
                return pb.ModelReadyResponse(ready=False)
            try:
                repository = self._service.repository
                model, runtime = models.find(repository, request.name, request.version)
            except UnknownTable:
                return pb.ModelReadyResponse(ready=False)
            ready = self._service.can_answer(model.table)
            if model.tier is Tier.TEACHER:
                ready = self._service.dispatcher.has_teacher(runtime)
            return pb.ModelReadyResponse(ready=ready)

        return await _answered(context, ready)

    async def ServerMetadata(self, message: bytes, context: Context) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name=SERVER, version=version_of("cascade-synthesis"), extensions=EXTENSIONS
        )

    async def ModelMetadata(self, message: bytes, context: Context) -> pb.ModelMetadataResponse:
        def described() -> pb.ModelMetadataResponse:
            request = pb.ModelMetadataRequest.FromString(message)
            repository = self._service.repository
            model, runtime = models.find(repository, request.name, request.version)
            versions = map(str, repository.versions(model.table))
            out = pb.ModelMetadataResponse(
                name=model.name, versions=versions, platform=model.platform
            )
            models.metadata(model, runtime, out)
            return out

        return await _answered(context, described)

    async def ModelStatistics(self, message: bytes, context: Context) -> pb.ModelStatisticsResponse:
        def counted() -> pb.ModelStatisticsResponse:
            request = pb.ModelStatisticsRequest.FromString(message)
            repository = self._service.repository
            if request.name:
                models.find(repository, request.name, request.version)
            only = models.version_number(request.version)
            calls = statistics.calls_by_table([place.calls for place in self._sla.books.places])
            engines = statistics.engines_by_key(self._service.statistics().engines)
            out = pb.ModelStatisticsResponse()
            for model in models.models(repository):
                if request.name in ("", model.name):
                    versions = repository.versions(model.table)
                    for version in versions:
                        if only in (0, version):
                            statistics.fill(out, model, version, max(versions), calls, engines)
            return out

        return await _answered(context, counted)

    async def RepositoryIndex(self, message: bytes, context: Context) -> pb.RepositoryIndexResponse:
        try:
            request = pb.RepositoryIndexRequest.FromString(message)
            out = pb.RepositoryIndexResponse()
            for each in await self._index():
                if each.state == index.READY or not request.ready:
                    out.models.append(each)
            return out
        except Exception as exc:
            return await refuse(context, exc)

    async def _index(self) -> list[pb.RepositoryIndexResponse.ModelIndex]:
        if not self._service.serving:
            return index.loaded(self._service.repository, index.UNAVAILABLE, index.DRAINING)
        if self._control is None:
            return index.loaded(self._service.repository, index.READY, "")
        return index.told(await asked(self._control, False, "list"))

    async def RepositoryModelLoad(
        self, message: bytes, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        try:
            request = pb.RepositoryModelLoadRequest.FromString(message)
            index.check_parameters(request.parameters, ())
            known = await asked(self._control, self._config.release_control, "list")
            table = request.model_name
            with contextlib.suppress(UnknownTable):  # it may have appeared since the lookup
                table, _ = index.table_of(request.model_name, known)
            await self._change("load", table)
            return pb.RepositoryModelLoadResponse()
        except Exception as exc:
            return await refuse(context, exc)

    async def RepositoryModelUnload(
        self, message: bytes, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        try:
            request = pb.RepositoryModelUnloadRequest.FromString(message)
            index.check_parameters(request.parameters, ("unload_dependents",))
            known = await asked(self._control, self._config.release_control, "list")
            table, is_network = index.table_of(request.model_name, known)
            if is_network:
                raise NotAllowed(
                    f"{request.model_name} is part of the releases of {table}; unload {table}"
                )
            await self._change("unload", table)
            return pb.RepositoryModelUnloadResponse()
        except Exception as exc:
            return await refuse(context, exc)

    async def _change(self, what: str, table: str) -> None:
        may, auditor = self._config.release_control, self._auditor
        await asked(self._control, may, what, auditor, table=table, version=0)

    async def ModelInfer(self, message: bytes, context: Context) -> bytes:
        return await self._calls.handle(message, context)


async def _answered(context: Context, what: Callable[[], Answer]) -> Answer:
    """Answer a call that needs no waiting, or end it with the status of its error."""
    try:
        return what()
    except Exception as exc:
        return await refuse(context, exc)


def _serialized(response: Message | bytes) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()
