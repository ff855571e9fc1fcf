"""How offline jobs are asked for, watched and fetched."""

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

# Seconds for an answer.
TIMEOUT = 30.0


class Jobs:
    """What may be asked of a server about offline jobs.

    >>> with Client() as client:
    ...     jobs = Jobs(client)
    ...     job = jobs.submit("credit", 20_000, seed=1)
    ...     job = jobs.wait(job.id)
    ...     jobs.fetch(job.id, Path("rows"))

    Args:
        client: of the server.

    Raises:
        NotFound: there is no such table, job or file.
        InvalidRequest: it cannot be, and why; a job that has ended is to be cancelled.
        PermissionDenied: results may not go there for who asks over the network.
        Overloaded: as many jobs, or as much of the disk, as there may be.
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
        """Ask for rows. Returns at once; `wait` and `watch` say when they are there. What may be
        asked for, `Client.submit` says, which gives a handle of the job in the place of its state.
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
        """How a job is now.

        Args:
            job: its id.
            files: whether to be told which of its files are whole.
            timeout: seconds.
        """
        request = pb.GetJobRequest(id=job, with_files=files)
        return self._ask(self._stub.GetJob, request, timeout)

    def list(self, limit: int = 100, *, timeout: float = TIMEOUT) -> tuple[Job, ...]:
        """The newest jobs, newest first."""
        client = self._client
        request = pb.ListJobsRequest(limit=limit)
        response = client._call(self._stub.ListJobs, request, client._expiry(timeout))
        return tuple(map(job_of, response.jobs))

    def cancel(self, job: str, *, timeout: float = TIMEOUT) -> Job:
        """End a job that has not ended; what it has made so far is removed."""
        return self._ask(self._stub.CancelJob, pb.CancelJobRequest(id=job), timeout)

    def watch(self, job: str, *, timeout: float | None = None) -> Iterator[Job]:
        """A job whenever it has gone on, until it has ended; also over a restart of the server.

        Args:
            job: its id.
            timeout: seconds; None: until it has ended.

        Raises:
            DeadlineExceeded: it has not ended in time; it goes on.
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
        """The job once it has ended.

        Args:
            job: its id.
            progress: is told of rows done and rows in all.
            timeout: seconds; None: until it has ended.

        Raises:
            DeadlineExceeded: it has not ended in time; it goes on.
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
        """Download the results of a job that is done; files that are there already are kept, and
        one that was begun is gone on with.

        Args:
            job: its id.
            folder: where to; it is made where there is none.
            progress: is told of bytes done and bytes in all.

        Returns:
            The files, in their order.

        Raises:
            InvalidRequest: the job is not done.
            ServerError: what came is not what was made.
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
        """Read what is missing of a file, however often its stream breaks."""

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
    """The error of a server that has no jobs, in words for who does not know why."""
    if error.code is grpc.StatusCode.UNIMPLEMENTED:
        return ServerError(f"the server is older than offline jobs: {error}", code=error.code)
    return error
