"""`SynthesizeRequest` and its answer, as a unary call or a stream has them."""

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
    """What has come of a call, once it is opened."""

    message: bytes


class SynthesizeMessage:
    """The message of a unary call; a `RequestMessage`. Whoever has sent it, it is read alike."""

    __slots__ = ("_request", "_scanned", "_sent")

    def __init__(self, sent: Sent, asks: Caller = ANYBODY) -> None:
        self._sent = sent
        self._scanned: ScannedRequest | None = None

    def heading(self) -> Heading:
        """Pass over it, or parse it: what gRPC cannot parse by itself it answers with UNKNOWN,
        which tells the caller nothing."""
        message = self._sent.message
        self._scanned = scan_request(message)
        if self._scanned is not None:
            return heading_of_scanned(message, self._scanned)
        self._request = pb.SynthesizeRequest.FromString(message)
        return heading_of(self._request)

    def read(self, runtime: Runtime, work: Work) -> SynthesisRequest:
        """Its rows, and what is asked of them."""
        if self._scanned is not None:
            return read_scanned(self._sent.message, self._scanned, runtime.fields)
        return read_request(self._request, runtime.fields)

    def pack(self, answer: Answer | TokenAnswer) -> bytes:
        """The answer as a `SynthesizeResponse`, serialized."""
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
        """Who is to answer."""
        return heading_of(self._request)

    def read(self, runtime: Runtime, work: Work) -> SynthesisRequest:
        """Its rows, and what is asked of them."""
        return read_request(self._request, runtime.fields)

    def pack(self, answer: Answer | TokenAnswer) -> bytes:
        """A `SynthesizeStreamResponse` of this answer alone: what protobuf makes of such messages
        one after another is the message that has the answers of them all."""
        assert isinstance(answer, Answer)
        response = pb.SynthesizeStreamResponse()
        write_answer(answer, response.answers.add(id=self.id).response)
        return response.SerializeToString()
