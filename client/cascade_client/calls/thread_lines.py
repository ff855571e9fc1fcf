"""The lines of the blocking client."""

from __future__ import annotations

from typing import Any

from cascade_client.calls.lines import Lines, Metadata, Method


class ThreadLines(Lines):
    """What stubs of the blocking client are made on; a `grpc.Channel`, as far as they use one."""

    def unary_unary(self, path: str, **codec: Any) -> Calls:
        """A method of one message and one answer."""
        return Calls(self, "unary_unary", path, codec)

    def unary_stream(self, path: str, **codec: Any) -> Calls:
        """A method that answers with a stream."""
        return Calls(self, "unary_stream", path, codec)

    def stream_stream(self, path: str, **codec: Any) -> Calls:
        """A method of two streams: a session's."""
        return Calls(self, "stream_stream", path, codec)

    def close(self) -> None:
        """Drop the connection; calls under way are cancelled. Closing twice does no harm."""
        for line in self._shut():
            line.channel.close()


class Calls(Method):
    """A method as it is called."""

    def __call__(
        self, asked: Any, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Any:
        """Call it, as grpcio's own.

        Raises:
            RuntimeError: the client was closed.
            grpc.RpcError: the call's own.
        """
        method = self.on(self._lines.take())
        try:
            return method(asked, timeout=timeout, metadata=self._lines.metadata(metadata))
        except ValueError:
            # What grpcio raises where another thread has closed the channel at this very moment.
            if self._lines.closed:
                raise self._lines.refusal() from None
            raise
