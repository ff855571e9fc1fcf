"""Reads a `SynthesizeRequest` and writes its answer, for a unary call or for a stream."""

from __future__ import annotations

from typing import Protocol

from cascade_proto import synthesis_pb2 as pb
from cascade_tables import ScannedRequest, scan_request

from cascade_server.access.grants import ANYBODY, Caller
from cascade_server.cascade.answer import Answer
from cascade_server.cascade.packing import packed, write_answer
from cascade_server.cascade.token_draw import TokenAnswer
from cascade_server.deadline import Work
from cascade_server.engines.runtime import Runtime
from cascade_server.wire.synthesis_request import (
    Heading,
    SynthesisRequest,
    heading_of,
    heading_of_scanned,
    read_request,
    read_scanned,
)


class Sent(Protocol):
    """A call's message, readable once the call is opened."""

    message: bytes


class SynthesizeMessage:
    """The message of a unary call; a `RequestMessage`. The caller does not affect it."""

    __slots__ = ("_request", "_scanned", "_sent")

    def __init__(self, sent: Sent, asks: Caller = ANYBODY) -> None:
        self._sent = sent
        self._scanned: ScannedRequest | None = None

    def heading(self) -> Heading:
        """Scan the message in compiled code or, if it is not plain enough, parse it."""
        message = self._sent.message
        self._scanned = scan_request(message)
        if self._scanned is not None:
            return heading_of_scanned(message, self._scanned)
        self._request = pb.SynthesizeRequest.FromString(message)
        return heading_of(self._request)

    def read(self, runtime: Runtime, work: Work) -> SynthesisRequest:
        """Read its rows and options."""
        if self._scanned is not None:
            return read_scanned(self._sent.message, self._scanned, runtime.fields)
        return read_request(self._request, runtime.fields)

    def pack(self, answer: Answer | TokenAnswer) -> bytes:
        """Serialize the answer as a `SynthesizeResponse`."""
        assert isinstance(answer, Answer)
        return packed(answer)


class StreamedMessage:
    """One request of a stream's message; a `RequestMessage`.

    Args:
        streamed: the request, with the caller's number for it.
    """

    __slots__ = ("_request", "id")

    def __init__(self, streamed: pb.StreamedRequest) -> None:
        self.id, self._request = streamed.id, streamed.request

    def heading(self) -> Heading:
        """Read the table and the timeout."""
        return heading_of(self._request)

    def read(self, runtime: Runtime, work: Work) -> SynthesisRequest:
        """Read its rows and options."""
        return read_request(self._request, runtime.fields)

    def pack(self, answer: Answer | TokenAnswer) -> bytes:
        """Serialize the answer as a `SynthesizeStreamResponse` of its own.

        Such messages need only be concatenated to be sent together: protobuf reads the result as
        one message with all of their answers.
        """
        assert isinstance(answer, Answer)
        response = pb.SynthesizeStreamResponse()
        write_answer(answer, response.answers.add(id=self.id).response)
        return response.SerializeToString()
