"""Streams that go on where they broke: decisions; the clients do the asking.

Generated rows are a function of the seed, the release and their place in the stream. So whoever
names the seed and the version that the first message's provenance told, and how many rows have
come, is sent the rest of the very stream that broke (`GenerateRequest.done`). The streams of jobs
are in `job_streams`.
"""

from __future__ import annotations

from dataclasses import replace

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_client.errors import CascadeError, Failure, ServerError
from cascade_client.retry import Retry

# What a proxy's end of a stream that its server was lost to reads like; gRPC gives it the status of
# the reset (INTERNAL, CANCELLED and others), and not UNAVAILABLE.
RESET = "RST_STREAM"


class Attempts:
    """How often a stream was asked for without a message in between, and whether it is once more.

    Attributes:
        stands: whether it may be open for as long as anybody likes, and says nothing of how many
            calls the connection may have.

    Args:
        retry: how often to try again without a message in between, and how patiently.
    """

    stands = False

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._attempts = 0

    @property
    def complete(self) -> bool:
        """Whether all has come that is wanted."""
        raise NotImplementedError

    def begins(self) -> None:
        """The stream is asked for."""
        self._attempts += 1

    def waited(self) -> None:
        """The last request was not sent after all, and so was no attempt."""
        self._attempts -= 1

    def came(self) -> None:
        """A message has come."""
        self._attempts = 1

    def why(self, ended: grpc.RpcError | None) -> Failure | None:
        """How the stream has failed that ended so, before all had come; None: it has not, and no
        more is to come.

        Args:
            ended: None: it just ended.
        """
        return self.ended() if ended is None else Failure.of(ended)

    def ended(self) -> Failure | None:
        """The stream has ended without a failure, and not all has come; as `why`."""
        raise NotImplementedError

    def delay(self, failure: Failure, remaining: float | None, uniform: float) -> float | None:
        """Seconds until the next request; None: give up.

        Args:
            failure: how the stream has ended.
            remaining: seconds left until the deadline; None: there is none.
            uniform: a random number in [0, 1).
        """
        if RESET in failure.details:
            failure = replace(failure, code=grpc.StatusCode.UNAVAILABLE)
        return self._retry.delay(failure, self._attempts, remaining, uniform)

    def explain(self, error: CascadeError) -> CascadeError:
        """The error, with a note of how much had come."""
        return error


class Resumption(Attempts):
    """What has come of one request for rows, and what is to be asked for next.

    Args:
        request: the whole of it.
        retry: how often to try again without a message in between, and how patiently.
    """

    def __init__(self, request: pb.GenerateRequest, retry: Retry) -> None:
        super().__init__(retry.patient())
        self._next = pb.GenerateRequest()
        self._next.CopyFrom(request)
        # Rows of a full message, as the first one had them.
        self._chunk = 0

    @property
    def done(self) -> int:
        """Rows of the request that have come, whatever number of streams they took."""
        return self._next.done

    @property
    def complete(self) -> bool:
        """Whether all rows of the request have come."""
        return self._next.done >= self._next.count

    def request(self) -> pb.GenerateRequest:
        """What to ask for now: all that has not come."""
        self.begins()
        asked = pb.GenerateRequest()
        asked.CopyFrom(self._next)
        return asked

    def takes(self, response: pb.GenerateResponse) -> bool:
        """A message has come; whether its rows are new.

        A server that does not know how to resume begins anew, with rows that have come already.

        Raises:
            ServerError: it does not go on where the last one ended.
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
        """As `Attempts.ended`: there is always more to come."""
        came = f"{self.done:,} of {self._next.count:,} rows" if self.done else "no rows"
        return Failure(grpc.StatusCode.UNAVAILABLE, f"the stream ended after {came}")

    def explain(self, error: CascadeError) -> CascadeError:
        """The error, with a note of how much had come."""
        if self.done:
            error.add_note(
                f"{self.done:,} of {self._next.count:,} rows had come, with seed "
                f"{self._next.seed} from version {self._next.version}"
            )
        return error
