"""`inference.GRPCInferenceService`: a thin shell around the models."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from importlib.metadata import version as version_of
from typing import NamedTuple, TypeVar

import grpc
from cascade_proto import inference_pb2 as pb
from google.protobuf.message import Message

from cascade_server.cascade import token_requests as networks
from cascade_server.config import ServerConfig
from cascade_server.counts.live_versions import lot_of
from cascade_server.counts.sla import Sla
from cascade_server.deadline import Work
from cascade_server.engines.noise import new_seed
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import BadRequest, NotAllowed, UnknownTable
from cascade_server.objectives.report import OK
from cascade_server.services.open_inference import index, models, statistics
from cascade_server.services.releases_service import asked
from cascade_server.services.synthesis_service import Context, Service, refuse
from cascade_server.supervision.control import Control
from cascade_server.terms import ServiceClass, Tier
from cascade_server.wire import tensor_rows as rows
from cascade_server.wire.model_tensors import LOG_LIKELIHOOD, PARAMETERS, Model
from cascade_server.wire.parameters import Parameters, put, read_parameters
from cascade_server.wire.tensors import read_inputs, write_outputs

NAME = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
SERVER = "cascade"
EXTENSIONS = ("model_repository", "parameters", "schedule_policy", "statistics")
METHODS = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods


Answer = TypeVar("Answer", bound=Message)


class Asked(NamedTuple):
    """A `ModelInfer` whose parameters have been read.

    Attributes:
        request: as it came.
        model, runtime: what it asks.
        parameters, work: how, and until when.
        outputs: names of those that are wanted; none: all.
    """

    request: pb.ModelInferRequest
    model: Model
    runtime: Runtime
    parameters: Parameters
    work: Work
    outputs: tuple[str, ...]

    @property
    def raw(self) -> bool:
        """Whether tensors are answered as raw bytes: as they came, and where none came."""
        return bool(self.request.raw_input_contents or not self.request.inputs)


class InferenceService:
    """Answers the protocol's calls from what answers `Synthesize`.

    Every `ModelInfer` is counted against its table's objectives, in the class of service that it
    asks for.
    """

    def __init__(
        self, service: Service, sla: Sla, config: ServerConfig, control: Control | None = None
    ) -> None:
        self._service, self._sla, self._config = service, sla, config
        self._control = control

    def handlers(self) -> grpc.GenericRpcHandler:
        """What gRPC needs to route calls here."""
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                method.name: grpc.unary_unary_rpc_method_handler(
                    getattr(self, method.name),
                    response_serializer=lambda message: message.SerializeToString(),
                )
                for method in METHODS
            },
        )

    async def ServerLive(self, message: bytes, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, message: bytes, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._service.serving)

    async def ModelReady(self, message: bytes, context: Context) -> pb.ModelReadyResponse:
        def ready() -> pb.ModelReadyResponse:
            request = pb.ModelReadyRequest.FromString(message)
            if not self._service.serving:
                return pb.ModelReadyResponse(ready=False)
            try:
                models.find(self._service.repository, request.name, request.version)
            except UnknownTable:
                return pb.ModelReadyResponse(ready=False)
            return pb.ModelReadyResponse(ready=True)

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
        return index.told(await self._control.ask("list"))

    async def RepositoryModelLoad(
        self, message: bytes, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        try:
            request = pb.RepositoryModelLoadRequest.FromString(message)
            index.check_parameters(request.parameters, ())
            known = await asked(self._control, self._config.release_control, "list")
            table = request.model_name
            with contextlib.suppress(UnknownTable):  # it may have come since that was looked at
                table, _ = index.table_of(request.model_name, known)
            await asked(self._control, self._config.release_control, "load", table=table, version=0)
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
            await asked(
                self._control, self._config.release_control, "unload", table=table, version=0
            )
            return pb.RepositoryModelUnloadResponse()
        except Exception as exc:
            return await refuse(context, exc)

    async def ModelInfer(self, message: bytes, context: Context) -> pb.ModelInferResponse:
        call = self._sla.call(ServiceClass.REALTIME)
        try:
            request = pb.ModelInferRequest.FromString(message)
            repository = self._service.repository
            model = models.named(repository, request.model_name)
            parameters = read_parameters(request, PARAMETERS[model.tier])
            lot = lot_of(parameters.given.get("seed"))
            runtime = models.release_of(repository, model, request.model_version, lot)
            work = Work.within(context.time_remaining(), parameters.timeout)
            of = Asked(request, model, runtime, parameters, work, _outputs(request))
            timeout = parameters.timeout
            call.asks(model.table, class_of(of), work.deadline, timeout_microseconds=timeout)
            call.answers_with(runtime.version)
            work.check()
            answer = self._from_rows if model.tier is None else self._from_tokens
            out, tier, drawn = await answer(of)
            call.sends(tier, drawn)
            call.ends(OK)
            return out
        except asyncio.CancelledError:
            call.hung_up()
            raise
        except Exception as exc:
            return await refuse(context, exc, call)

    async def _from_rows(self, asked: Asked) -> tuple[pb.ModelInferResponse, Tier, int]:
        """Values in, values out, through the whole cascade."""
        request, schema = asked.request, asked.runtime.release.codec.schema
        version = asked.runtime.release.manifest.version
        of = rows.to_request(
            read_inputs(request),
            asked.outputs,
            asked.parameters,
            schema,
            version,
            asked.model.table,
        )
        job = self._service.plan(of, asked.work, asked.parameters.offline)
        answer, tier = await self._service.answer(job)

        def packed() -> pb.ModelInferResponse:
            out = rows.answered(request, answer)
            write_outputs(out, rows.to_tensors(answer, asked.outputs, schema), asked.raw)
            return out

        # A large answer is packed out of the event loop's way.
        inline = job.total <= self._config.inline_rows
        out = packed() if inline else await self._service.elsewhere(packed)
        return out, tier, job.total

    async def _from_tokens(self, asked: Asked) -> tuple[pb.ModelInferResponse, Tier, int]:
        """Tokens in, tokens out, by the network that is named."""
        request, model, runtime = asked.request, asked.model, asked.runtime
        assert model.tier is not None
        wanted = networks.wanted_of(asked.outputs, model)
        seed = asked.parameters.given.get("seed", new_seed())
        draw = networks.to_draw(
            model,
            read_inputs(request),
            asked.parameters,
            seed,
            runtime,
            asked.work,
            self._config.max_rows,
        )
        dispatcher = self._service.dispatcher
        tensors = []
        for name in wanted:
            score = name == LOG_LIKELIHOOD
            values = await (dispatcher.score_tokens if score else dispatcher.draw_tokens)(draw)
            tensors.append(networks.to_tensor(name, values))
        out = pb.ModelInferResponse(
            model_name=request.model_name,
            model_version=str(runtime.release.manifest.version),
            id=request.id,
        )
        put(out.parameters, "synthetic", True)
        write_outputs(out, tensors, asked.raw)
        return out, model.tier, len(draw.tokens)


def class_of(asked: Asked) -> ServiceClass:
    """What was asked for, as objectives know it."""
    if asked.parameters.offline:
        return ServiceClass.OFFLINE
    given = asked.parameters.given
    scored = given.get("log_likelihood", False) or LOG_LIKELIHOOD in asked.outputs
    full = asked.model.tier is Tier.TEACHER or given.get("fidelity") == "full" or scored
    return ServiceClass.FULL if full else ServiceClass.REALTIME


def _outputs(request: pb.ModelInferRequest) -> tuple[str, ...]:
    """Names of the outputs that are wanted; none: all.

    Raises:
        BadRequest: one is wanted in a form that is not served.
    """
    for output in request.outputs:
        if output.parameters:
            listed = ", ".join(sorted(output.parameters))
            raise BadRequest(
                f"output {output.name!r} has parameters that are not served: {listed}; neither "
                "classification nor shared memory, which they may be of, is"
            )
    return tuple(output.name for output in request.outputs)


async def _answered(context: Context, of: Callable[[], Answer]) -> Answer:
    """What a call without waiting answers, or the status of what is wrong."""
    try:
        return of()
    except Exception as exc:
        return await refuse(context, exc)
