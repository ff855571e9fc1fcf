"""What clients do about jobs in one step: `submit` and `job`; `jobs` has the rest."""

from __future__ import annotations

from typing import Unpack

from cascade_client.async_job_control import AsyncJobs
from cascade_client.frame_methods import AsyncFrameMethods, FrameMethods
from cascade_client.job_control import Jobs
from cascade_client.job_handles import AsyncJobHandle, JobHandle
from cascade_client.messages.jobs import JobOptions


class JobMethods(FrameMethods):
    """The part of `Client` that is about offline jobs."""

    @property
    def jobs(self) -> Jobs:
        """The server's jobs, by their ids: list, watch, cancel, fetch."""
        return Jobs(self)

    def submit(self, table: str, rows: int = 0, **options: Unpack[JobOptions]) -> JobHandle:
        """Have the server make many rows in the background, and keep them as files.

        For more rows than one waits for: the job outlives this program and the server. Where rows
        are wanted now, see `generate`.

        >>> job = client.submit("credit", 20_000, balance="default_payment_next_month")
        >>> job.wait()  # a bar, on a terminal or in a notebook
        >>> frame = job.to_pandas()

        Args:
            table: the table's name.
            rows: to make; not with `conditions`.
            options: `Jobs.submit` describes them: fidelity, version, seed, columns, given, balance,
                shares, conditions, draws, output, token, fresh, timeout.

        Raises:
            InvalidRequest, NotFound, PermissionDenied, Overloaded: as `Jobs.submit`.
        """
        jobs = self.jobs
        return JobHandle(jobs, jobs.submit(table, rows, **options))

    def job(self, id: str) -> JobHandle:
        """A job that was submitted before, perhaps by another program.

        Raises:
            NotFound: the server has no such job.
        """
        jobs = self.jobs
        return JobHandle(jobs, jobs.get(id))


class AsyncJobMethods(AsyncFrameMethods):
    """The part of `AsyncClient` that is about offline jobs."""

    @property
    def jobs(self) -> AsyncJobs:
        """The server's jobs, by their ids; see `Client.jobs`."""
        return AsyncJobs(self)

    async def submit(
        self, table: str, rows: int = 0, **options: Unpack[JobOptions]
    ) -> AsyncJobHandle:
        """Have the server make many rows in the background, and keep them as files; see
        `Client.submit`."""
        jobs = self.jobs
        return AsyncJobHandle(jobs, await jobs.submit(table, rows, **options))

    async def job(self, id: str) -> AsyncJobHandle:
        """A job that was submitted before, perhaps by another program; see `Client.job`."""
        jobs = self.jobs
        return AsyncJobHandle(jobs, await jobs.get(id))
