"""Streams of jobs that are begun again, after a break and now and then: decisions, as `resuming`.

A job that is watched has nothing to say for hours, and a file may take as long to come. What takes
that long would keep the connection's other calls from their turn, and nobody would find out that
its server or the way to it is no longer there. So a stream of these has a deadline of its own, and
is begun again where it ended: a watch tells the job's state at once, a file goes on from a byte.
"""

from __future__ import annotations

import grpc

from cascade_client.calls.downloads import Download
from cascade_client.calls.resuming import Attempts
from cascade_client.errors import Failure
from cascade_client.retry import Retry
from cascade_client.turns.queue import Limits
from cascade_client.values.jobs import Job, JobState

# Streams of jobs of a client that may be open at once; further ones wait for their turn. They are
# half of what a server lets a connection have unless told otherwise: the rest is for its calls.
STANDING_LIMITS = Limits(first=32, most=32, foresees=False)
# Seconds between attempts to go on with a stream that broke, and attempts in a row in which nothing
# came: a server that is started again has a minute.
RECONNECT, ATTEMPTS = 0.5, 120
# Seconds that the reading of a file is open for at most, where nothing at all came of it: a message
# may take that long on a slow way.
LONGEST_READ = 600.0

_RETRY = Retry(ATTEMPTS, RECONNECT, 1.0, RECONNECT, 0.0, ATTEMPTS)


class JobStream(Attempts):
    """A stream that is begun again when its time is over.

    Args:
        about: what is asked for, in words.
        seconds: that it may be open for.
        longest: the same, after attempts in which nothing came, each twice as long.
    """

    stands = True

    def __init__(self, about: str, seconds: float, longest: float) -> None:
        super().__init__(_RETRY)
        self._about, self._seconds, self._longest = about, seconds, longest
        self._bound = seconds
        self._is_bounded = self._is_over = self._has_come = False

    def begin(self, left: float | None) -> float | None:
        """The stream is asked for: seconds that it may be open for.

        Args:
            left: until the caller's deadline; None: there is none.
        """
        self.begins()
        self._has_come = self._is_over = False
        self._bound = min(self._seconds * 2.0 ** (self._attempts - 1), self._longest)
        self._is_bounded = left is None or left > self._bound
        return self._bound if self._is_bounded else left

    def came(self) -> None:
        super().came()
        self._has_come = True

    def why(self, ended: grpc.RpcError | None) -> Failure | None:
        if ended is None or not self._is_bounded:
            return super().why(ended)
        failure = Failure.of(ended)
        if failure.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
            return failure
        # It is the stream's own time that is over, not its caller's.
        self._is_over = self._has_come
        said = f"the server has sent nothing of {self._about} in {self._bound:g} s"
        return Failure(grpc.StatusCode.UNAVAILABLE, said)

    def delay(self, failure: Failure, remaining: float | None, uniform: float) -> float | None:
        if self._is_over:
            self._attempts = 0
            return 0.0
        return super().delay(failure, remaining, uniform)


class JobWatch(JobStream):
    """A job, whenever it has gone on, until it has ended.

    Args:
        job: its id.
        seconds: that one look takes at most.
    """

    def __init__(self, job: str, seconds: float) -> None:
        super().__init__(f"job {job}", seconds, seconds)
        self._told: Job | None = None

    @property
    def complete(self) -> bool:
        """Whether it has ended."""
        return self._told is not None and self._told.state.is_final

    def takes(self, job: Job) -> bool:
        """The server says how it is; whether it has gone on since it last said so."""
        self.came()
        told, self._told = self._told, job
        return job != told

    def ended(self) -> Failure | None:
        """The stream ended by itself, which says nothing of the job: a proxy may end one. Only
        where the job's state has no name here may it be that no more is to come."""
        if self._told is not None and self._told.state is JobState.UNKNOWN:
            return None
        how = "anything was said" if self._told is None else f"it had: it is {self._told.state}"
        return Failure(
            grpc.StatusCode.UNAVAILABLE, f"the watch of {self._about} ended before {how}"
        )


class Reading(JobStream):
    """What has not come of a file.

    Args:
        download: where it goes.
        seconds: that one stream of it takes at most, as long as anything comes.
    """

    def __init__(self, download: Download, seconds: float) -> None:
        super().__init__(download.file.name, seconds, LONGEST_READ)
        self._download = download

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        return self._download.is_whole

    def takes(self, data: bytes) -> None:
        """The bytes that come after those that are there."""
        self.came()
        self._download.write(data)

    def ended(self) -> Failure | None:
        """The stream ended, as if the file were whole."""
        file, done = self._download.file, self._download.done
        return Failure(
            grpc.StatusCode.UNAVAILABLE,
            f"the stream ended after {done:,} of {file.bytes:,} bytes of {file.name}",
        )
