"""Decisions about streams of jobs, which are reopened after a break and periodically; see
`resuming`.

A watched job may have nothing to report for hours, and a file may take as long to download. Such a
long stream would block the connection's other calls, and nobody would notice that the server or the
network path is gone. So these streams have a deadline of their own, and are reopened afterwards: a
watch reports the job's state at once, and a file continues from a byte offset.
"""

from __future__ import annotations

import grpc

from cascade_client.calls.downloads import Download
from cascade_client.calls.resuming import Attempts
from cascade_client.errors import Failure
from cascade_client.retry import Retry
from cascade_client.turns.queue import Limits
from cascade_client.values.jobs import Job, JobState

# Streams of jobs of a client that may be open at once; others wait for their turn. They are half of
# a server's default limit per connection; the rest is for the client's calls.
STANDING_LIMITS = Limits(first=32, most=32, foresees=False)
# Seconds between attempts to resume a broken stream, and attempts in a row without a message: a
# restarting server has a minute.
RECONNECT, ATTEMPTS = 0.5, 120
# Most seconds that a file's stream stays open without any message, because a single message may
# take that long on a slow network.
LONGEST_READ = 600.0

_RETRY = Retry(ATTEMPTS, RECONNECT, 1.0, RECONNECT, 0.0, ATTEMPTS)


class JobStream(Attempts):
    """A stream that is reopened when its time is over.

    Args:
        about: description of the content, for messages.
        seconds: time limit of one stream.
        longest: most time for one stream; it doubles after each attempt without a message.
    """

    stands = True

    def __init__(self, about: str, seconds: float, longest: float) -> None:
        super().__init__(_RETRY)
        self._about, self._seconds, self._longest = about, seconds, longest
        self._bound = seconds
        self._is_bounded = self._is_over = self._has_come = False

    def begin(self, left: float | None) -> float | None:
        """Start an attempt; return the time limit of its stream in seconds.

        Args:
            left: seconds until the caller's deadline; None: there is none.
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
        # The stream's own deadline has passed, not its caller's.
        self._is_over = self._has_come
        said = f"the server has sent nothing of {self._about} in {self._bound:g} s"
        return Failure(grpc.StatusCode.UNAVAILABLE, said)

    def delay(self, failure: Failure, remaining: float | None, uniform: float) -> float | None:
        if self._is_over:
            self._attempts = 0
            return 0.0
        return super().delay(failure, remaining, uniform)


class JobWatch(JobStream):
    """The states of a job until it has ended, one whenever it has progressed.

    Args:
        job: its id.
        seconds: time limit of one stream.
    """

    def __init__(self, job: str, seconds: float) -> None:
        super().__init__(f"job {job}", seconds, seconds)
        self._told: Job | None = None

    @property
    def complete(self) -> bool:
        """Whether the job has ended."""
        return self._told is not None and self._told.state.is_final

    def takes(self, job: Job) -> bool:
        """Take a report of the job's state; return whether it has progressed since the last one."""
        self.came()
        told, self._told = self._told, job
        return job != told

    def ended(self) -> Failure | None:
        """Handle the end of the stream, which says nothing about the job: a proxy may have ended
        it.

        Only if this client does not know the job's state may the stream be complete.
        """
        if self._told is not None and self._told.state is JobState.UNKNOWN:
            return None
        how = "anything was said" if self._told is None else f"it had: it is {self._told.state}"
        return Failure(
            grpc.StatusCode.UNAVAILABLE, f"the watch of {self._about} ended before {how}"
        )


class Reading(JobStream):
    """The missing bytes of a file.

    Args:
        download: the target.
        seconds: time limit of one stream, as long as anything arrives.
    """

    def __init__(self, download: Download, seconds: float) -> None:
        super().__init__(download.file.name, seconds, LONGEST_READ)
        self._download = download

    @property
    def complete(self) -> bool:
        """Whether all bytes have been received."""
        return self._download.is_whole

    def takes(self, data: bytes) -> None:
        """Take the bytes that follow those received."""
        self.came()
        self._download.write(data)

    def ended(self) -> Failure | None:
        """Handle the end of the stream before the file is complete."""
        file, done = self._download.file, self._download.done
        return Failure(
            grpc.StatusCode.UNAVAILABLE,
            f"the stream ended after {done:,} of {file.bytes:,} bytes of {file.name}",
        )
