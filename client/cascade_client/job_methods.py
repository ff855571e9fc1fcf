"""The clients' methods for single jobs, `submit` and `job`; `jobs` has the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cascade_client.async_job_control import AsyncJobs
from cascade_client.frame_methods import AsyncFrameMethods, FrameMethods
from cascade_client.job_control import TIMEOUT, Jobs
from cascade_client.job_handles import AsyncJobHandle, JobHandle
from cascade_client.messages.wire import Fidelity


class JobMethods(FrameMethods):
    """Methods of `Client` for offline jobs."""

    @property
    def jobs(self) -> Jobs:
        """The server's jobs, by their ids: list, watch, cancel, fetch."""
        self._check_open()
        return Jobs(self)

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
    ) -> JobHandle:
        """Have the server make many rows in the background, and keep them as files.

        For large amounts of rows: the job outlives this program and restarts of the server. For
        rows that are needed now, see `generate`.

        >>> job = client.submit("credit", 20_000, balance="default_payment_next_month")
        >>> job.wait()  # a bar, on a terminal or in a notebook
        >>> frame = job.to_pandas()

        Args:
            table: of a release of the server.
            rows: to make; not with `conditions`.
            fidelity: "full" is the teacher, "fast" the student, which is far faster; "auto" is
                "full", since nobody waits.
            version: of the release; None: the default release.
            seed: the same seed gives the same files; None: the server draws one, and reports it.
            columns: to write; None: all.
            given: values that all rows share.
            balance: a column whose values should occur with the frequencies in `shares`.
            shares: by value, in any unit; None: all values of the column equally, if it is a
                category or a number with at most 20 values.
            conditions: rows to complete, each `draws` times: as for `Client.synthesize`.
            draws: rows for each of these.
            output: a folder of the server's or a URL; "": the server's own folder for results.
            token: an idempotency token of your choice: all calls with the same token share one job.
                None: a token for this call only, so that it can be retried.
            fresh: whether to make the rows even if a job with the same specification exists.
            timeout: seconds for the server to accept the job; the job itself has no time limit.

        Raises:
            InvalidRequest: the request is impossible, with the reason.
            NotFound: there is no such table or version.
            PermissionDenied: a caller over the network may not write results there.
            Overloaded: the limit of jobs or of disk space is reached.
        """
        jobs = self.jobs
        made = jobs.submit(
            table,
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
            timeout=timeout,
        )
        return JobHandle(jobs, made)

    def job(self, id: str) -> JobHandle:
        """Return the handle of an existing job, perhaps submitted by another program.

        Raises:
            NotFound: the server has no such job.
        """
        jobs = self.jobs
        return JobHandle(jobs, jobs.get(id))


class AsyncJobMethods(AsyncFrameMethods):
    """Methods of `AsyncClient` for offline jobs."""

    @property
    def jobs(self) -> AsyncJobs:
        """The server's jobs, by their ids; see `Client.jobs`."""
        self._check_open()
        return AsyncJobs(self)

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
    ) -> AsyncJobHandle:
        """Have the server make many rows in the background, and keep them as files; see
        `Client.submit`."""
        jobs = self.jobs
        made = await jobs.submit(
            table,
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
            timeout=timeout,
        )
        return AsyncJobHandle(jobs, made)

    async def job(self, id: str) -> AsyncJobHandle:
        """Return the handle of an existing job; see `Client.job`."""
        jobs = self.jobs
        return AsyncJobHandle(jobs, await jobs.get(id))
