"""Submission, watching and download of offline jobs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
from cascade_proto import jobs_pb2 as pb
from cascade_proto.jobs_pb2_grpc import JobsStub

from cascade_client.calls.downloads import Download, downloads
from cascade_client.calls.job_streams import JobWatch, Reading
from cascade_client.calls.threads import BlockingCalls
from cascade_client.errors import CascadeError, DeadlineExceeded, ServerError
from cascade_client.messages.jobs import not_ended, submit_request
from cascade_client.messages.wire import Fidelity, checked_fidelity
from cascade_client.tracing import trace_headers
from cascade_client.values.jobs import Job, job_of

# Default timeout of a call in seconds.
TIMEOUT = 30.0


class Jobs:
    """A server's offline jobs.

    >>> with Client() as client:
    ...     jobs = Jobs(client)
    ...     job = jobs.submit("credit", 20_000, seed=1)
    ...     job = jobs.wait(job.id)
    ...     jobs.fetch(job.id, Path("rows"))

    Args:
        client: of the server.

    Raises:
        NotFound: there is no such table, job or file.
        InvalidRequest: the request is impossible, with the reason; for example, cancelling a job
            that has ended.
        PermissionDenied: a caller over the network may not write results there.
        Overloaded: the limit of jobs or of disk space is reached.
    """

    def __init__(self, client: BlockingCalls) -> None:
        self._client = client
        self._stub = JobsStub(client._channel)

    def submit(
        self,
        table: str,
        rows: int = 0,
        *,
        fidelity: Fidelity = "full",
        version: int | None = None,
        seed: int | None = None,
        columns: Sequence[str] | None = None,
        given: Mapping[str, Any] | None = None,
        balance: str | None = None,
        shares: Mapping[Any, float] | None = None,
        conditions: Any = None,
        draws: int = 1,
        output: str | Path = "",
        token: str | None = None,
        fresh: bool = False,
        timeout: float = TIMEOUT,
    ) -> Job:
        """Submit a job and return its state at once; `wait` and `watch` report its completion.

        `Client.submit` documents the arguments; it returns a job handle instead of the state.
        """
        client, expiry = self._client, self._client._expiry(timeout)
        checked_fidelity(fidelity)
        request = submit_request(
            client._schema(table, version, expiry),
            rows,
            fidelity=fidelity,
            version=version,
            seed=seed,
            columns=columns,
            given=given,
            balance=balance,
            shares=shares,
            conditions=conditions,
            draws=draws,
            output=output,
            token=token,
            fresh=fresh,
        )
        return job_of(client._call(self._stub.SubmitJob, request, expiry))

    def get(self, job: str, *, files: bool = False, timeout: float = TIMEOUT) -> Job:
        """Return a job's current state.

        Args:
            job: its id.
            files: whether to list the files that are complete.
            timeout: seconds.
        """
        request = pb.GetJobRequest(id=job, with_files=files)
        return self._ask(self._stub.GetJob, request, timeout)

    def list(self, limit: int = 100, *, timeout: float = TIMEOUT) -> tuple[Job, ...]:
        """Return the newest jobs, newest first."""
        client = self._client
        request = pb.ListJobsRequest(limit=limit)
        response = client._call(self._stub.ListJobs, request, client._expiry(timeout))
        return tuple(map(job_of, response.jobs))

    def cancel(self, job: str, *, timeout: float = TIMEOUT) -> Job:
        """Cancel a job that has not ended; the server removes what it has made so far."""
        return self._ask(self._stub.CancelJob, pb.CancelJobRequest(id=job), timeout)

    def watch(self, job: str, *, timeout: float | None = None) -> Iterator[Job]:
        """Yield a job's state on each progress until it has ended, across server restarts.

        Args:
            job: its id.
            timeout: seconds; None: no limit.

        Raises:
            DeadlineExceeded: it has not ended in time; the job continues.
        """
        client = self._client
        looks = JobWatch(job, client._channel.bounds.look)
        expiry, request = client._open_expiry(timeout), pb.WatchJobRequest(id=job)

        def begin(left: float | None) -> Any:
            return self._stub.WatchJob(request, timeout=looks.begin(left), metadata=trace_headers())

        messages = client._resumed(looks, begin, expiry, client._standing)
        with closing(messages):
            for message in messages:
                found = job_of(message)
                if looks.takes(found):
                    yield found
                if looks.complete:
                    return

    def wait(
        self,
        job: str,
        progress: Callable[[int, int], object] | None = None,
        *,
        timeout: float | None = None,
    ) -> Job:
        """Return the job once it has ended.

        Args:
            job: its id.
            progress: called with the rows done and the total rows.
            timeout: seconds; None: no limit.

        Raises:
            DeadlineExceeded: it has not ended in time; the job continues.
        """
        found = None
        try:
            for found in self.watch(job, timeout=timeout):
                if progress is not None:
                    progress(found.rows_done, found.rows)
        except DeadlineExceeded as exc:
            raise not_ended(job, found, timeout, exc) from exc
        assert found is not None
        return found

    def fetch(
        self,
        job: str,
        folder: Path,
        progress: Callable[[int, int], object] | None = None,
    ) -> Sequence[Path]:
        """Download the results of a finished job; keep existing files and resume partial ones.

        Args:
            job: its id.
            folder: the target folder; created if it does not exist.
            progress: called with the bytes done and the total bytes.

        Returns:
            The files, in their order.

        Raises:
            InvalidRequest: the job is not done.
            ServerError: the received bytes differ from the result.
        """
        return self._fetch(self.get(job, files=True), folder, progress)

    def _fetch(
        self, job: Job, folder: Path, progress: Callable[[int, int], object] | None
    ) -> Sequence[Path]:
        paths = []
        for download, report in downloads(job, folder, progress):
            paths.append(download.path)
            if not download.is_there():
                with download:
                    while not download.is_right():
                        self._read(job.id, download, report)
        return paths

    def _read(self, job: str, download: Download, report: Callable[[], object]) -> None:
        """Read the missing part of a file, however often its stream breaks."""

        client = self._client
        reading = Reading(download, client._channel.bounds.read)

        def begin(left: float | None) -> Any:
            name, done = download.file.name, download.done
            return self._stub.ReadResult(
                pb.ReadResultRequest(id=job, name=name, offset=done),
                timeout=reading.begin(left),
                metadata=trace_headers(),
            )

        messages = client._resumed(reading, begin, math.inf, client._standing)
        with closing(messages):
            for message in messages:
                reading.takes(message.data)
                report()
                if reading.complete:
                    return

    def _ask(self, method: Any, request: Any, timeout: float) -> Job:
        return job_of(self._client._call(method, request, self._client._expiry(timeout)))


def explained(error: CascadeError) -> CascadeError:
    """Explain the error of a server that has no jobs."""
    if error.code is grpc.StatusCode.UNIMPLEMENTED:
        return ServerError(f"the server is older than offline jobs: {error}", code=error.code)
    return error
