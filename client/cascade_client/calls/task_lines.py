"""The lines of the asyncio client."""

from __future__ import annotations

from typing import Any

import grpc

from cascade_client.calls.lines import Lines, Metadata, Method


class TaskLines(Lines):
    """What stubs of the asyncio client are made on; a `grpc.aio.Channel`, as far as they use one.

    The channel is made by the first call, in its event loop.
    """

    def unary_unary(self, path: str, **codec: Any) -> Calls:
        """A method of one message and one answer, to be awaited."""
        return Calls(self, "unary_unary", path, codec)

    def unary_stream(self, path: str, **codec: Any) -> Calls:
        """A method that answers with a stream."""
        return Calls(self, "unary_stream", path, codec)

    def stream_stream(self, path: str, **codec: Any) -> Calls:
        """A method of two streams: a session's."""
        return Calls(self, "stream_stream", path, codec)

    async def close(self) -> None:
        """Drop the connection; calls under way are cancelled. Closing twice does no harm."""
        for line in self._shut():
            await line.channel.close()


class Calls(Method):
    """A method as it is called."""

    def __call__(
        self, *asked: Any, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Any:
        """Call it, as grpcio's own: what comes back is awaited, or read.

        Raises:
            RuntimeError: the client was closed.
            grpc.RpcError: the call's own, once it is awaited.
        """
        method = self.on(self._lines.take())
        try:
            return method(*asked, timeout=timeout, metadata=self._lines.metadata(metadata))
        except grpc.aio.UsageError:
            if self._lines.closed:
                raise self._lines.refusal() from None
            raise
