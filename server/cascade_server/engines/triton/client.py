"""Calls to one server, over a connection of this process's own."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any

import grpc
from cascade_proto import inference_pb2 as pb
from cascade_proto.inference_pb2_grpc import GRPCInferenceServiceStub

from cascade_server.engines.triton.contract import (
    CANCELS_FROM,
    Network,
    Serves,
    differs,
    may_cancel,
    missing,
    serves,
)
from cascade_server.engines.triton.messages import Batch, to_answer, to_request
from cascade_server.telemetry.trace_context import TraceContext

log = logging.getLogger("cascade.server")

MODEL_CONFIG = "/inference.GRPCInferenceService/ModelConfig"
OPTIONS = (
    # Every worker has its own connection, and notices soon that a server is back.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # The least time for one connection attempt: the first frame of a busy or distant server may
    # come late although it is up. A server that refuses is tried again after the pause above.
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A failed call goes to another server, not to the same one again.
    ("grpc.enable_retries", 0),
    # The proxy named by an environment variable is meant for the web.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
# Seconds after its deadline at which a call is cancelled that should not be. A server that stalled
# has long since resumed or been restarted.
FAR_SECONDS = 600.0
# Seconds that closing waits for calls that should not be cancelled; a supervisor waits five.
CLOSE_SECONDS = 3.0
PUSHBACK_MS = 100
# The most characters of a server's own error message that are passed on.
WORDS = 200


class Unfit(Exception):
    """A server lacks what a release needs; the message says what it has and what it should have."""


class Client:
    """Calls to one server; use only in its own event loop.

    Attributes:
        cancels: whether the server may be sent cancellations; false until the server is identified.

    Args:
        target: HOST:PORT.
        credentials: TLS credentials; None for a connection without TLS.
    """

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        self._target, self.cancels, self._met = target, False, False
        # Calls that must not be cancelled, whether or not a caller waits for them.
        self._calls: set[asyncio.Future[Any]] = set()
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options=OPTIONS)
        self._stub: Any = GRPCInferenceServiceStub(self._channel)
        self._config = self._channel.unary_unary(
            MODEL_CONFIG,
            request_serializer=pb.ModelConfigRequest.SerializeToString,
            response_deserializer=pb.ModelConfigResponse.FromString,
        )

    async def close(self) -> None:
        """Close the connection.

        Calls in progress are cancelled; if that can do harm, only after a while.
        """
        if self._calls:
            await asyncio.wait(self._calls, timeout=CLOSE_SECONDS)
        if left := len(self._calls):
            log.warning("%s has %d calls unanswered, which hanging up cancels", self._target, left)
        await self._channel.close()

    async def ready(self, timeout: float) -> bool:
        """Return whether the server says that it is ready; a gRPC error means no answer."""
        return bool((await self._stub.ServerReady(pb.ServerReadyRequest(), timeout=timeout)).ready)

    async def meet(self, timeout: float) -> None:
        """Find out what the server is, and so whether calls there may be cancelled."""
        who = pb.ServerMetadataResponse()
        try:
            who = await self._stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=timeout)
        except grpc.aio.AioRpcError as exc:
            # Every Triton has this call.
            if exc.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
        before, self.cancels = self.cancels, may_cancel(who.name, who.version, who.extensions)
        if not self.cancels and (before or not self._met):
            log.warning(
                "%s is Triton %s, which a cancelled call can end: calls are left alone there; "
                "%d.%d has that repaired",
                self._target,
                who.version or "of no version",
                *CANCELS_FROM,
            )
        self._met = True

    async def model_ready(self, network: Network, timeout: float) -> bool:
        """Return whether a network is ready."""
        request = pb.ModelReadyRequest(name=network.model, version=str(network.version))
        try:
            return bool((await self._stub.ModelReady(request, timeout=timeout)).ready)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise

    async def examine(self, network: Network, timeout: float) -> Serves:
        """Return what the server has of a network.

        Raises:
            Unfit: the server does not have what the release needs.
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
            # A Cascade server does not have this call, and takes any number of rows.
            if exc.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
        return serves(network, found, most)

    async def _ready_models(self, timeout: float) -> list[tuple[str, str]]:
        """Return names and versions of the models that the server reports as ready."""
        request = pb.RepositoryIndexRequest(ready=True)
        index = await self._stub.RepositoryIndex(request, timeout=timeout)
        return [(model.name, model.version) for model in index.models]

    async def infer(
        self,
        network: Network,
        batch: Batch,
        remaining: float,
        offline: bool = False,
        ended: Callable[[], None] = lambda: None,
        inside: TraceContext | None = None,
    ) -> Any:
        """Run a network; see `to_answer`.

        Cancelling this call cancels it on the server too, if that does no harm. Otherwise the call
        goes on until it is answered, long past its deadline if need be, and the answer is dropped.
        The caller must enforce its own deadline.

        Args:
            network, batch: the network to run and its input.
            remaining: seconds left for the call; infinite for no limit.
            offline: whether no real-time caller waits for it.
            ended: called once the server no longer has the batch. That is before this call returns,
                unless the call was left to go on.
            inside: the stage of the call that needs the batch, if that call is traced.

        Raises:
            WrongAnswer: the answer violates the contract.
        """
        call: asyncio.Future[Any] | None = None
        told = None if inside is None else inside.headers()
        try:
            request = to_request(network, batch, remaining, offline)
            timeout = None if math.isinf(remaining) else max(0.001, remaining)
            if self.cancels:
                response = await self._stub.ModelInfer(request, timeout=timeout, metadata=told)
            else:
                far = None if timeout is None else timeout + FAR_SECONDS
                call = asyncio.ensure_future(
                    self._stub.ModelInfer(request, timeout=far, metadata=told)
                )
                self._calls.add(call)
                call.add_done_callback(self._done)
                response = await asyncio.shield(call)
            return to_answer(network, batch, response)
        finally:
            if call is None or call.done():
                ended()
            else:
                call.add_done_callback(lambda _: ended())

    def _done(self, call: asyncio.Future[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # there may be no caller left to retrieve it


def words_of(error: grpc.aio.AioRpcError) -> str:
    """Return a failed call's message in one line, without a model's stack trace."""
    details = (error.details() or "").partition("last error:")
    said = (details[2] or details[0]).strip().partition("\n")[0]
    if "onnection refused" in said:
        said = "connection refused"
    return f"{said[:WORDS].rstrip(' .')} ({error.code().name})" if said else error.code().name


def pushback_of(error: grpc.aio.AioRpcError) -> int:
    """Return the milliseconds after which an overloaded server says to come back."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-retry-pushback-ms" and str(value).isdigit():
            return int(value)
    return PUSHBACK_MS
