"""A server that speaks the protocol and does as a test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import numpy as np
from cascade_proto import inference_pb2 as pb
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.triton.contract import Network
from cascade_server.engines.triton.fleet import Fleet
from cascade_server.engines.triton.health import HealthConfig
from cascade_server.engines.triton.measuring import Measuring
from cascade_server.wire.tensors import read_inputs

SERVICE = "inference.GRPCInferenceService"
SOON = 300.0
# What a call is answered after, and may be refused with.
Does = Callable[[pb.ModelInferRequest, Any], Awaitable[None]]


async def at_once(request: pb.ModelInferRequest, context: Any) -> None:
    """Answer."""


def refuses(code: grpc.StatusCode, words: str = "as told", *trailing: tuple[str, str]) -> Does:
    """Refuse."""

    async def does(request: pb.ModelInferRequest, context: Any) -> None:
        await context.abort(code, words, trailing)

    return does


class Gate:
    """Keeps calls until it is opened; notes those that were cancelled meanwhile."""

    def __init__(self) -> None:
        self.open, self.inside, self.cancelled = asyncio.Event(), 0, 0

    async def __call__(self, request: pb.ModelInferRequest, context: Any) -> None:
        self.inside += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1


class FakeServer:
    """A server of some networks.

    Attributes:
        does: to each inference; changed by a test.
        ready: what it says to health checks.
        asked: inferences that came, those by which it is learnt from left out once `settle` is
            called.
        max_batch, scores: what its models say.
        name, version: who it says that it is; None: it has no such call.
    """

    def __init__(
        self, networks: list[Network], credentials: grpc.ServerCredentials | None = None
    ) -> None:
        self._credentials = credentials
        self.networks = {network.model: network for network in networks}
        self.does: Does = at_once
        self.ready = True
        self.asked: list[pb.ModelInferRequest] = []
        self.max_batch, self.scores = 0, True
        self.name: str | None = "fake"
        self.version = "1.0"
        self.target = ""
        self._server: Any = None

    async def start(self) -> None:
        """Listen; where it listened before, if it did."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                getattr(self, name),
                request_deserializer=getattr(pb, f"{name}Request").FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for name in (
                *("ServerReady", "ModelReady", "ModelMetadata", "ModelConfig", "ModelInfer"),
                *("RepositoryIndex", "ServerMetadata"),
            )
        }
        handler = grpc.method_handlers_generic_handler(SERVICE, methods)
        self._server.add_generic_rpc_handlers((handler,))
        target = self.target or "127.0.0.1:0"
        if self._credentials is None:
            port = self._server.add_insecure_port(target)
        else:
            port = self._server.add_secure_port(target, self._credentials)
        self.target = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """Go away at once: what is underway is cut off."""
        await self._server.stop(0)

    def settle(self) -> None:
        """Forget what came so far."""
        self.asked.clear()

    async def ServerReady(self, request: Any, context: Any) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self.ready)

    async def ServerMetadata(self, request: Any, context: Any) -> pb.ServerMetadataResponse:
        if self.name is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        return pb.ServerMetadataResponse(name=self.name, version=self.version)

    async def ModelReady(self, request: Any, context: Any) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=request.name in self.networks)

    async def RepositoryIndex(self, request: Any, context: Any) -> pb.RepositoryIndexResponse:
        out = pb.RepositoryIndexResponse()
        for name, network in self.networks.items():
            out.models.add(name=name, version=str(network.version), state="READY")
        return out

    async def ModelConfig(self, request: Any, context: Any) -> pb.ModelConfigResponse:
        return pb.ModelConfigResponse(config=pb.ModelConfig(max_batch_size=self.max_batch))

    async def ModelMetadata(self, request: Any, context: Any) -> pb.ModelMetadataResponse:
        network = self.networks[request.name]
        out = pb.ModelMetadataResponse(name=request.name, versions=[str(network.version)])
        for name, datatype, width in (
            ("tokens", "INT32", network.slots),
            ("observed", "BOOL", network.slots),
            ("noise", "FP32", network.noise),
        ):
            out.inputs.add(name=name, datatype=datatype, shape=[-1, width])
        out.outputs.add(name="drawn", datatype="INT32", shape=[-1, network.slots])
        if self.scores:
            out.outputs.add(name="log_likelihood", datatype="FP64", shape=[-1, 1])
        return out

    async def ModelInfer(self, request: Any, context: Any) -> pb.ModelInferResponse:
        self.asked.append(request)
        await self.does(request, context)
        inputs: Any = read_inputs(request)
        tokens, observed = (
            inputs[name].values.reshape(inputs[name].shape) for name in ("tokens", "observed")
        )
        out = pb.ModelInferResponse(model_name=request.model_name)
        if "noise" in inputs:
            noise = inputs["noise"].values.reshape(inputs["noise"].shape)
            values = drawn_of(self.networks[request.model_name], tokens, observed, noise)
            out.outputs.add(name="drawn", datatype="INT32", shape=values.shape)
        else:
            values = -observed.sum(axis=1, keepdims=True).astype(np.float64)
            out.outputs.add(name="log_likelihood", datatype="FP64", shape=values.shape)
        out.raw_output_contents.append(values.tobytes())
        return out


def drawn_of(network: Network, tokens: Any, observed: Any, noise: Any) -> Any:
    """What a fake server draws: each slot by the first number of the row's noise."""
    drawn = (noise[:, :1] * np.asarray(network.sizes)).astype(np.int32)
    return np.where(observed, tokens, drawn)


@asynccontextmanager
async def fleet_of(
    runtime: Runtime,
    *servers: FakeServer,
    strict: bool = True,
    patience: float = SOON,
    measuring: Measuring | None = None,
) -> AsyncIterator[Fleet]:
    """Servers that listen, and a fleet that has looked at them.

    Args:
        patience: seconds that a server has to say that it is well; few only where one does not: on
            a machine that is busy, all may be late.
    """
    async with AsyncExitStack() as stack:
        for server in servers:
            await server.start()
            stack.push_async_callback(server.stop)
        config = HealthConfig(period=0.05, timeout=patience, first_pause=0.01, most_pause=0.05)
        fleet = Fleet([server.target for server in servers], config, measuring=measuring)
        stack.push_async_callback(fleet.stop)
        await fleet.start([runtime], strict)
        for server in servers:
            server.settle()
        yield fleet
