"""gRPC channels to a `FakeServer`: what `Client` and `AsyncClient` use of one, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_client.errors import Failure
from cascade_client.sessions.messages import StreamedError

if TYPE_CHECKING:
    from cascade_client.testing.server import FakeServer

CANCELLED = "the call was cancelled"


class FakeChannel(grpc.Channel):
    """What `Client` uses of a `grpc.Channel`; every call is answered in the caller's thread."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def unary_unary(self, method: str, *codec: Any, **named: Any) -> Callable[..., Any]:
        """A method that answers once."""
        to_bytes, from_bytes = _codec(*codec, **named)

        def call(request: Any, timeout: float | None = None, **_: Any) -> Any:
            body, there = self._server.unary(method, to_bytes(request), timeout)
            self._server.passes(there)
            return from_bytes(body)

        return call

    def unary_stream(self, method: str, *codec: Any, **named: Any) -> Callable[..., Any]:
        """A method that answers with a stream, such as `Generate`."""
        to_bytes, _ = _codec(*codec, **named)

        def call(request: Any, timeout: float | None = None, **_: Any) -> BlockingStream:
            return BlockingStream(self._streaming(method, to_bytes(request), timeout))

        return call

    def stream_stream(self, method: str, *codec: Any, **named: Any) -> Callable[..., Any]:
        """A stream of requests and one of answers: a session's."""

        def call(messages: Iterable[Any], **_: Any) -> BlockingStream:
            return BlockingStream(self._streamed(messages))

        return call

    def stream_unary(self, method: str, *codec: Any, **named: Any) -> Any:
        """No method of Cascade's is of this kind."""
        raise NotImplementedError(method)

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        """There is no connection whose state could change."""

    def unsubscribe(self, callback: Any) -> None:
        """As `subscribe`: there is nothing to forget."""

    def close(self) -> None:
        """There is nothing to close."""

    def __enter__(self) -> FakeChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _streaming(self, method: str, body: bytes, timeout: float | None) -> Iterator[Any]:
        for response, there in self._server.stream(method, body, timeout):
            self._server.passes(there)
            yield response

    def _streamed(self, messages: Iterable[Any]) -> Iterator[Any]:
        for message in messages:
            answers, there = _answers(self._server, message)
            self._server.passes(there)
            yield answers


class BlockingStream:
    """Answers that come one after another, until the call is cancelled."""

    def __init__(self, answers: Iterator[Any]) -> None:
        self._answers = answers
        self._is_cancelled = False

    def __iter__(self) -> Iterator[Any]:
        for answer in self._answers:
            if self._is_cancelled:
                break
            yield answer
        if self._is_cancelled:
            raise StreamedError(grpc.StatusCode.CANCELLED, CANCELLED)

    def cancel(self) -> None:
        """End the stream: no more of it is wanted, and whoever reads it is told so."""
        self._is_cancelled = True


class AsyncFakeChannel:
    """What `AsyncClient` uses of a `grpc.aio.Channel`."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def unary_unary(self, method: str, *codec: Any, **named: Any) -> Callable[..., Any]:
        """A method that answers once, to be awaited."""
        to_bytes, from_bytes = _codec(*codec, **named)

        async def call(request: Any, timeout: float | None = None, **_: Any) -> Any:
            body, there = self._server.unary(method, to_bytes(request), timeout)
            # Calls of other tasks begin before the time passes that this one takes.
            await asyncio.sleep(0)
            self._server.passes(there)
            return from_bytes(body)

        return call

    def unary_stream(self, method: str, *codec: Any, **named: Any) -> Callable[..., Any]:
        """A method that answers with a stream, such as `Generate`."""
        to_bytes, _ = _codec(*codec, **named)

        def call(request: Any, timeout: float | None = None, **_: Any) -> AsyncStream:
            return AsyncStream(self._server, self._streaming(method, to_bytes(request), timeout))

        return call

    def stream_stream(self, method: str, *codec: Any, **named: Any) -> Callable[..., Any]:
        """A stream of requests and one of answers: a session's."""

        def call(**_: Any) -> AsyncStream:
            return AsyncStream(self._server, None)

        return call

    async def close(self) -> None:
        """There is nothing to close."""

    async def _streaming(
        self, method: str, body: bytes, timeout: float | None
    ) -> AsyncIterator[Any]:
        for response, there in self._server.stream(method, body, timeout):
            await asyncio.sleep(0)
            self._server.passes(there)
            yield response


class AsyncStream:
    """As `BlockingStream`; of a session, what is written is answered."""

    def __init__(self, server: FakeServer, answers: AsyncIterator[Any] | None) -> None:
        self._server = server
        self._answers = answers
        self._written: asyncio.Queue[Any] = asyncio.Queue()
        self._is_cancelled = False

    async def write(self, message: Any) -> None:
        """Requests of a session."""
        self._written.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for answer in self._streamed() if self._answers is None else self._answers:
            if self._is_cancelled:
                break
            yield answer
        if self._is_cancelled:
            raise StreamedError(grpc.StatusCode.CANCELLED, CANCELLED)

    async def _streamed(self) -> AsyncIterator[Any]:
        while not self._is_cancelled:
            message = await self._written.get()
            if message is None:
                return
            answers, there = _answers(self._server, message)
            await asyncio.sleep(0)
            self._server.passes(there)
            yield answers

    def cancel(self) -> None:
        """End the stream: no more of it is wanted, and whoever reads it is told so."""
        self._is_cancelled = True
        self._written.put_nowait(None)


def _codec(
    request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any
) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    return request_serializer or bytes, response_deserializer or bytes


def _answers(
    server: FakeServer, message: pb.SynthesizeStreamRequest
) -> tuple[pb.SynthesizeStreamResponse, float]:
    """Each request of a session's message answered, and when all of it is there."""
    out, latest = pb.SynthesizeStreamResponse(), server.clock()
    for each in message.requests:
        answer = out.answers.add(id=each.id)
        try:
            response, there = server.synthesize(each.request, None)
            answer.response.CopyFrom(response)
            latest = max(latest, there)
        except StreamedError as exc:
            failure = Failure.of(exc)
            answer.failure.code = failure.code.value[0]
            answer.failure.message = failure.details
            if failure.pushback is not None:
                answer.failure.pushback_milliseconds = round(1000 * failure.pushback)
    return out, latest
