"""Decisions about streams that resume where they broke; the clients make the calls.

Generated rows are a function of the seed, the release and their position in the stream. So a client
that sends the seed and the version from the first message's provenance, and the number of rows
received, gets the rest of the same stream (`GenerateRequest.done`). The streams of jobs are in
`job_streams`.
"""

from __future__ import annotations

from dataclasses import replace

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_client.errors import CascadeError, Failure, ServerError
from cascade_client.retry import Retry

# Message of a stream that a proxy ended because it lost the server. gRPC gives it the status of the
# reset (INTERNAL, CANCELLED and others), and not UNAVAILABLE.
RESET = "RST_STREAM"


class Attempts:
    """Attempts to open a stream without a message in between, and whether to make another.

    Attributes:
        stands: whether the stream may stay open indefinitely, so that it says nothing about the
            connection's call limit.

    Args:
        retry: how often and how patiently to retry without a message in between.
    """

    stands = False

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._attempts = 0

    @property
    def complete(self) -> bool:
        """Whether everything has been received."""
        raise NotImplementedError

    def begins(self) -> None:
        """Record that the stream is being opened."""
        self._attempts += 1

    def waited(self) -> None:
        """Record that the last request was not sent after all, and so was no attempt."""
        self._attempts -= 1

    def came(self) -> None:
        """Record that a message has come."""
        self._attempts = 1

    def why(self, ended: grpc.RpcError | None) -> Failure | None:
        """Return how an incomplete stream has failed; None if it has not, and no more is expected.

        Args:
            ended: its error; None: it ended without one.
        """
        return self.ended() if ended is None else Failure.of(ended)

    def ended(self) -> Failure | None:
        """Handle a stream that ended without an error, but incomplete; returns as `why`."""
        raise NotImplementedError

    def delay(self, failure: Failure, remaining: float | None, uniform: float) -> float | None:
        """Return the seconds until the next request; None: give up.

        Args:
            failure: how the stream has ended.
            remaining: seconds left until the deadline; None: there is none.
            uniform: a random number in [0, 1).
        """
        if RESET in failure.details:
            failure = replace(failure, code=grpc.StatusCode.UNAVAILABLE)
        return self._retry.delay(failure, self._attempts, remaining, uniform)

    def explain(self, error: CascadeError) -> CascadeError:
        """Add a note to the error that says how much was received."""
        return error


class Resumption(Attempts):
    """Rows received for one request, and the next request to send.

    Args:
        request: the original request.
        retry: how often and how patiently to retry without a message in between.
    """

    def __init__(self, request: pb.GenerateRequest, retry: Retry) -> None:
        super().__init__(retry.patient())
        self._next = pb.GenerateRequest()
        self._next.CopyFrom(request)
        # Rows of a full message, as in the first one.
        self._chunk = 0

    @property
    def done(self) -> int:
        """Rows of the request received, over all streams."""
        return self._next.done

    @property
    def complete(self) -> bool:
        """Whether all rows of the request have been received."""
        return self._next.done >= self._next.count

    def request(self) -> pb.GenerateRequest:
        """Return the request for all missing rows."""
        self.begins()
        asked = pb.GenerateRequest()
        asked.CopyFrom(self._next)
        return asked

    def takes(self, response: pb.GenerateResponse) -> bool:
        """Take a message; return whether its rows are new.

        A server that cannot resume starts again with rows that were already received.

        Raises:
            ServerError: it does not continue where the last one ended.
        """
        rows, have = response.rows.count, self._next.done
        if rows and response.done <= have:
            return False
        if not rows or response.done - rows != have:
            raise ServerError(
                f"rows up to {have:,} have come, and the server sent those from "
                f"{response.done - rows:,} to {response.done:,}"
            )
        if not self._chunk:
            self._chunk = rows
            self._next.version = response.provenance.version
            self._next.seed = response.provenance.seed
        elif rows != self._chunk and response.done < self._next.count:
            # Rows of other chunks are drawn from other noise, and some would come twice.
            raise ServerError(
                f"the first message had {self._chunk:,} rows and this one has {rows:,}; servers "
                "that share a name must have equal chunk_rows"
            )
        self._next.done = response.done
        self.came()
        return True

    def ended(self) -> Failure:
        """Handle the end of a stream: more rows are always expected."""
        came = f"{self.done:,} of {self._next.count:,} rows" if self.done else "no rows"
        return Failure(grpc.StatusCode.UNAVAILABLE, f"the stream ended after {came}")

    def explain(self, error: CascadeError) -> CascadeError:
        """Add a note to the error that says how much was received."""
        if self.done:
            error.add_note(
                f"{self.done:,} of {self._next.count:,} rows had come, with seed "
                f"{self._next.seed} from version {self._next.version}"
            )
        return error
