"""What clients do about jobs in one step: `submit` and `job`; `jobs` has the rest."""

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
    """The part of `Client` that is about offline jobs."""

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

        For more rows than one waits for: the job outlives this program and the server. Where rows
        are wanted now, see `generate`.

        >>> job = client.submit("credit", 20_000, balance="default_payment_next_month")
        >>> job.wait()  # a bar, on a terminal or in a notebook
        >>> frame = job.to_pandas()

        Args:
            table: of a release of the server.
            rows: to make; not with `conditions`.
            fidelity: "full" is the teacher, "fast" the student, which is far faster; "auto" is
                "full", since nobody waits.
            version: of the release; None: the one that answers who names none.
            seed: the same one gives the same files; None: the server draws one, and tells it.
            columns: to write; None: all.
            given: values that all rows share.
            balance: a column whose values are to come as often as `shares` says.
            shares: by value, in any unit; None: all of the column's, alike, where it is a category
                or a number with 20 values at most.
            conditions: rows to complete, each `draws` times: as for `Client.synthesize`.
            draws: rows for each of these.
            output: a folder of the server's or a URL; "": the server's own folder for results.
            token: of your choosing: however often a call with it is made, there is one job. None:
                one of this very call, so that it may be tried again.
            fresh: whether to make the rows though there is a job of the same specification.
            timeout: seconds for the server to take it down; the job may take as long as it takes.

        Raises:
            InvalidRequest: it cannot be, and why.
            NotFound: there is no such table or version.
            PermissionDenied: results may not go there for who asks over the network.
            Overloaded: as many jobs, or as much of the disk, as there may be.
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
        """A job that was submitted before, perhaps by another program; see `Client.job`."""
        jobs = self.jobs
        return AsyncJobHandle(jobs, await jobs.get(id))
