"""One server's calls, over a connection of this process's own."""

from __future__ import annotations

import math
from typing import Any

import grpc
from cascade_proto import inference_pb2 as pb
from cascade_proto.inference_pb2_grpc import GRPCInferenceServiceStub

from cascade_server.remote.contract import Network, Serves, differs, missing, serves
from cascade_server.remote.messages import Batch, to_answer, to_request

MODEL_CONFIG = "/inference.GRPCInferenceService/ModelConfig"
OPTIONS = (
    # Every worker has its own connection, and finds out soon that a server is back.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # What fails is sent elsewhere, not again to the same server.
    ("grpc.enable_retries", 0),
    # The proxy that an environment names is for the web.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
# What a server has without our asking is told in so many characters at most.
WORDS = 200


class Unfit(Exception):
    """A server does not have what a release needs; says what it has, and what it should."""


class Client:
    """Calls to one server; to be made in the event loop that uses it.

    Args:
        target: HOST:PORT.
    """

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(target, options=OPTIONS)
        self._stub: Any = GRPCInferenceServiceStub(self._channel)
        self._config = self._channel.unary_unary(
            MODEL_CONFIG,
            request_serializer=pb.ModelConfigRequest.SerializeToString,
            response_deserializer=pb.ModelConfigResponse.FromString,
        )

    async def close(self) -> None:
        """Hang up; what is underway is cancelled."""
        await self._channel.close()

    async def ready(self, timeout: float) -> bool:
        """Whether the server says that it takes requests; a gRPC error if it says nothing."""
        return bool((await self._stub.ServerReady(pb.ServerReadyRequest(), timeout=timeout)).ready)

    async def model_ready(self, network: Network, timeout: float) -> bool:
        """Whether a network may be asked."""
        request = pb.ModelReadyRequest(name=network.model, version=str(network.version))
        try:
            return bool((await self._stub.ModelReady(request, timeout=timeout)).ready)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise

    async def examine(self, network: Network, timeout: float) -> Serves:
        """What the server has of a network.

        Raises:
            Unfit: not what the release needs.
        """
        ready = await self._ready_models(timeout)
        versions = [version for name, version in ready if name == network.model]
        if wrong := missing(network, versions, (name for name, _ in ready)):
            raise Unfit(wrong)
        version = str(network.version)
        about = pb.ModelMetadataRequest(name=network.model, version=version)
        found = await self._stub.ModelMetadata(about, timeout=timeout)
        if wrong := differs(network, found):
            raise Unfit(wrong)
        most = 0
        try:
            asked = pb.ModelConfigRequest(name=network.model, version=version)
            most = (await self._config(asked, timeout=timeout)).config.max_batch_size
        except grpc.aio.AioRpcError as exc:
            # A Cascade server has no such call, and takes any number of rows.
            if exc.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
        return serves(network, found, most)

    async def _ready_models(self, timeout: float) -> list[tuple[str, str]]:
        """Names and versions."""
        request = pb.RepositoryIndexRequest(ready=True)
        index = await self._stub.RepositoryIndex(request, timeout=timeout)
        return [(model.name, model.version) for model in index.models]

    async def infer(
        self, network: Network, batch: Batch, remaining: float, offline: bool = False
    ) -> Any:
        """Run a network; see `to_answer`. Cancelling cancels it there too.

        Args:
            network, batch: what is run.
            remaining: seconds that there are for it; infinite: as long as it takes.
            offline: nobody waits for it.

        Raises:
            WrongAnswer: the server answered what the contract does not allow.
        """
        request = to_request(network, batch, remaining, offline)
        timeout = None if math.isinf(remaining) else max(0.001, remaining)
        return to_answer(network, batch, await self._stub.ModelInfer(request, timeout=timeout))


def words_of(error: grpc.aio.AioRpcError) -> str:
    """A failed call in a line: no stack trace that a model wrote."""
    details = (error.details() or "").partition("last error:")
    said = (details[2] or details[0]).strip().partition("\n")[0]
    if "onnection refused" in said:
        said = "connection refused"
    return f"{said[:WORDS].rstrip(' .')} ({error.code().name})" if said else error.code().name
