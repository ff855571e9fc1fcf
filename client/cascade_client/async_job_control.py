"""Submission, watching and download of offline jobs with asyncio; see `job_control`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from cascade_proto import jobs_pb2 as pb
from cascade_proto.jobs_pb2_grpc import JobsStub

from cascade_client.calls.downloads import PAUSE, Download, downloads
from cascade_client.calls.job_streams import JobWatch, Reading
from cascade_client.calls.tasks import AsyncCalls
from cascade_client.errors import DeadlineExceeded
from cascade_client.job_control import TIMEOUT
from cascade_client.messages.jobs import not_ended, submit_request
from cascade_client.messages.wire import Fidelity, checked_fidelity
from cascade_client.tracing import trace_headers
from cascade_client.values.jobs import Job, job_of


class AsyncJobs:
    """A server's offline jobs; see `Jobs`.

    >>> async with AsyncClient() as client:
    ...     job = await client.jobs.submit("credit", 20_000, seed=1)
    ...     job = await client.jobs.wait(job.id)
    ...     await client.jobs.fetch(job.id, Path("rows"))

    Args:
        client: of the server.
    """

    def __init__(self, client: AsyncCalls) -> None:
        self._client = client
        self._stub = JobsStub(client._channel)

    async def submit(
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
        """Submit a job; see `Jobs.submit`."""
        client, expiry = self._client, self._client._expiry(timeout)
        checked_fidelity(fidelity)
        request = submit_request(
            await client._schema(table, version, expiry),
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
        return job_of(await client._call(self._stub.SubmitJob, request, expiry))

    async def get(self, job: str, *, files: bool = False, timeout: float = TIMEOUT) -> Job:
        """Return a job's current state; see `Jobs.get`."""
        request = pb.GetJobRequest(id=job, with_files=files)
        return await self._ask(self._stub.GetJob, request, timeout)

    async def list(self, limit: int = 100, *, timeout: float = TIMEOUT) -> tuple[Job, ...]:
        """Return the newest jobs, newest first."""
        client = self._client
        request = pb.ListJobsRequest(limit=limit)
        response = await client._call(self._stub.ListJobs, request, client._expiry(timeout))
        return tuple(map(job_of, response.jobs))

    async def cancel(self, job: str, *, timeout: float = TIMEOUT) -> Job:
        """Cancel a job that has not ended; the server removes what it has made so far."""
        return await self._ask(self._stub.CancelJob, pb.CancelJobRequest(id=job), timeout)

    async def watch(self, job: str, *, timeout: float | None = None) -> AsyncIterator[Job]:
        """Yield a job's state on each progress until it has ended; see `Jobs.watch`."""
        client = self._client
        looks = JobWatch(job, client._channel.bounds.look)
        expiry, request = client._open_expiry(timeout), pb.WatchJobRequest(id=job)

        def begin(left: float | None) -> Any:
            return self._stub.WatchJob(request, timeout=looks.begin(left), metadata=trace_headers())

        messages = client._resumed(looks, begin, expiry, client._standing)
        async with aclosing(messages):
            async for message in messages:
                found = job_of(message)
                if looks.takes(found):
                    yield found
                if looks.complete:
                    return

    async def wait(
        self,
        job: str,
        progress: Callable[[int, int], object] | None = None,
        *,
        timeout: float | None = None,
    ) -> Job:
        """Return the job once it has ended; see `Jobs.wait`."""
        found = None
        try:
            async for found in self.watch(job, timeout=timeout):
                if progress is not None:
                    progress(found.rows_done, found.rows)
        except DeadlineExceeded as exc:
            raise not_ended(job, found, timeout, exc) from exc
        assert found is not None
        return found

    async def fetch(
        self,
        job: str,
        folder: Path,
        progress: Callable[[int, int], object] | None = None,
    ) -> Sequence[Path]:
        """Download the results of a finished job; see `Jobs.fetch`."""
        return await self._fetch(await self.get(job, files=True), folder, progress)

    async def _fetch(
        self, job: Job, folder: Path, progress: Callable[[int, int], object] | None
    ) -> Sequence[Path]:
        paths = []
        for download, report in downloads(job, folder, progress):
            paths.append(download.path)
            # Checksums of existing files take a while, so compute them outside the event loop.
            # Waiting for another writer of the file also stays outside, since that may be another
            # task of this loop.
            if not await asyncio.to_thread(download.is_there):
                while not await asyncio.to_thread(download.begin):
                    await asyncio.sleep(PAUSE)
                with download:
                    while not await asyncio.to_thread(download.is_right):
                        await self._read(job.id, download, report)
        return paths

    async def _read(self, job: str, download: Download, report: Callable[[], object]) -> None:
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
        async with aclosing(messages):
            async for message in messages:
                reading.takes(message.data)
                report()
                if reading.complete:
                    return

    async def _ask(self, method: Any, request: Any, timeout: float) -> Job:
        return job_of(await self._client._call(method, request, self._client._expiry(timeout)))
