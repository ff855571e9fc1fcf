"""A `FakeServer` behind a real port: for what only gRPC does, such as counting calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from cascade_client.sessions.messages import StreamedError
from cascade_client.testing import FakeServer
from cascade_client.testing.channels import _answers
from cascade_proto import synthesis_pb2 as pb

STREAMS = {"Generate", "WatchJob", "ReadResult"}
Hook = Callable[[str], object]


class Handler(grpc.GenericRpcHandler):
    """Answers as the fake one does.

    Args:
        server: whose answers they are.
        hook: called with a method's name in the thread that answers: of a stream after each
            message, of others before the answer.
    """

    def __init__(self, server: FakeServer, hook: Hook) -> None:
        self._server, self._hook = server, hook

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        path = details.method
        name = path.rpartition("/")[2]

        def stream(request: bytes, context: Any) -> Iterator[bytes]:
            try:
                for message, _ in self._server.stream(path, request, context.time_remaining()):
                    yield message.SerializeToString()
                    self._hook(name)
            except StreamedError as exc:
                _abort(context, exc)

        def answer(request: bytes, context: Any) -> bytes:
            self._hook(name)
            try:
                return self._server.unary(path, request, context.time_remaining())[0]
            except StreamedError as exc:
                _abort(context, exc)
                raise

        def session(messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
            for message in messages:
                asked = pb.SynthesizeStreamRequest.FromString(message)
                yield _answers(self._server, asked)[0].SerializeToString()

        if name == "SynthesizeStream":
            return grpc.stream_stream_rpc_method_handler(session)
        if name in STREAMS:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(answer)


def _abort(context: Any, error: StreamedError) -> None:
    context.set_trailing_metadata(error.trailing_metadata())
    context.abort(error.code(), error.details())


@contextmanager
def serving(
    server: FakeServer, hook: Hook = lambda _: None, options: Sequence[tuple[str, Any]] = ()
) -> Iterator[str]:
    """Where it listens."""
    real = grpc.server(ThreadPoolExecutor(16), options=options)
    real.add_generic_rpc_handlers((Handler(server, hook),))
    port = real.add_insecure_port("127.0.0.1:0")
    real.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        real.stop(grace=None).wait()
