"""Job handles: wait for a job, read its rows, and export them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cascade_client.async_job_control import AsyncJobs
from cascade_client.calls.downloads import whole_files
from cascade_client.errors import JobFailed, ServerError
from cascade_client.frames.results import (
    Read,
    Store,
    arrow_table,
    is_one_file,
    local_folder,
    pandas_frame,
    polars_frame,
    write_file,
)
from cascade_client.job_control import Jobs
from cascade_client.progress import Progress, checked_progress
from cascade_client.values.jobs import Job, JobState, ResultFile

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class _Handle:
    """Common part of both job handles."""

    def __init__(self, status: Job) -> None:
        self._status = status

    @property
    def id(self) -> str:
        """Id of the job: ``client.job(id)`` returns this job again, even on another day."""
        return self._status.id

    @property
    def status(self) -> Job:
        """State of the job at the last query; `refresh` queries the server."""
        return self._status

    def __repr__(self) -> str:
        status = self._status
        return (
            f"<{type(self).__name__} {status.id}: {status.table}, {status.state}, "
            f"{status.rows_done:,} of {status.rows:,} rows>"
        )

    def _done(self, status: Job) -> Job:
        """Check the state of a job that has ended.

        Raises:
            JobFailed: it has no results.
            ServerError: this client does not know the job's state.
        """
        self._status = status
        if not status.state.is_final:
            raise ServerError(
                f"the server says no more of job {status.id}, whose state this version of the "
                f"client does not know ({status.state}); a later one may"
            )
        if status.state is not JobState.DONE:
            raise JobFailed(f"job {status.id} is {status.state}: {status.reason or 'no reason'}")
        return status


class JobHandle(_Handle):
    """A job of a server, as returned by `Client.submit` and `Client.job`.

    >>> job = client.submit("credit", 20_000, seed=1)
    >>> job.wait().to_pandas()

    The server owns the job: it continues without any handle, and after a restart.

    Args:
        jobs: of the client.
        status: the server's last report of it.
    """

    def __init__(self, jobs: Jobs, status: Job) -> None:
        super().__init__(status)
        self._jobs = jobs

    def refresh(self) -> Job:
        """Query and return the job's current state."""
        self._status = self._jobs.get(self.id)
        return self._status

    def wait(
        self, timeout: float | None = None, *, progress: Progress | bool | None = True
    ) -> Self:
        """Return once all of its rows are there: ``job.wait().to_pandas()``.

        Args:
            timeout: seconds; None: no limit.
            progress: called as ``progress(done, total)`` with rows; True: a bar, on a terminal or
                in a notebook; None: no report.

        Raises:
            JobFailed: it failed or was cancelled; the message says why.
            DeadlineExceeded: it has not ended in time; the job continues.
        """
        report = checked_progress(progress, f"job {self.id}")
        if self._status.state is not JobState.DONE:
            self._done(self._jobs.wait(self.id, report, timeout=timeout))
        return self

    def cancel(self) -> Job:
        """Cancel the job, if it has not ended; the server removes what it has made so far."""
        self._status = self._jobs.cancel(self.id)
        return self._status

    def fetch(
        self, folder: Path | str, *, progress: Progress | bool | None = None
    ) -> Sequence[Path]:
        """Download the files of a finished job into a folder.

        Existing files are kept, and a partial file, even of another process, is resumed. Each file
        is checked against its SHA-256.

        Args:
            folder: a local folder.
            progress: called as ``progress(done, total)`` with bytes; True: a bar.

        Returns:
            The files, the manifest last.

        Raises:
            JobFailed: it failed or was cancelled.
            InvalidRequest: a different file with the same name exists.
        """
        self.wait()
        report = checked_progress(progress, f"job {self.id}", "bytes")
        return self._jobs.fetch(self.id, Path(folder), report)

    def to_arrow(self, folder: Path | str | None = None) -> pa.Table:
        """Return its rows as a pyarrow Table, once it is done; waits for that, with a bar.

        Args:
            folder: where to keep downloaded files, so that an interrupted download can be resumed
                on another day; None: a temporary folder.

        Raises:
            JobFailed: it failed or was cancelled.
            MissingDependency: the package of such frames, or pyarrow, is not installed.
        """
        return self._read(arrow_table, folder)

    def to_pandas(self, folder: Path | str | None = None) -> pd.DataFrame:
        """Return its rows as a DataFrame of pandas; see `to_arrow`."""
        frame: pd.DataFrame = self._read(pandas_frame, folder)
        return frame

    def to_polars(self, folder: Path | str | None = None) -> Any:
        """Return its rows as a DataFrame of polars; see `to_arrow`."""
        return self._read(polars_frame, folder)

    def to_parquet(self, uri: Path | str, *, progress: Progress | bool | None = None) -> list[str]:
        """Export its rows as Parquet; waits for the job.

        A name that ends in ``.parquet`` is a single file, which is written whole or not at all. Any
        other name is a folder for the job's own files: the rows in ``data``, and the manifest last.
        Existing files are kept, so that a repeated call after an interruption resumes.

        >>> job = client.submit("credit", 20_000, seed=1)
        >>> job.to_parquet("rows.parquet")
        >>> job.to_parquet("rows")  # or "s3://bucket/rows"; polars.read_parquet("rows/data")

        Args:
            uri: a path, or a URL that fsspec supports.
            progress: called as ``progress(done, total)`` with bytes; True: a bar.

        Returns:
            The names of the files: those in the folder, or the single one.

        Raises:
            JobFailed: it failed or was cancelled.
            InvalidRequest: a different file exists; fsspec does not support such URLs.
            MissingDependency: fsspec, or a package that it needs for such URLs, is not installed.
        """
        if is_one_file(uri):
            with tempfile.TemporaryDirectory() as temporary:
                return write_file(uri, self.fetch(temporary, progress=progress))
        if (folder := local_folder(uri)) is not None:
            self.fetch(folder, progress=progress)
            return [file.name for file in self._whole().result_files]
        store, done = Store(str(uri)), self._whole()
        report = checked_progress(progress, f"job {self.id}", "bytes")
        for file in store.missing(done):
            with tempfile.TemporaryDirectory() as temporary:
                one = replace(done, result_files=(file,))
                (path,) = self._jobs._fetch(one, Path(temporary), None)
                store.put(path, file)
            _tell(report, done, file)
        return [file.name for file in done.result_files]

    def _whole(self) -> Job:
        self.wait()
        found = self._jobs.get(self.id, files=True)
        whole_files(found)
        return found

    def _read(self, read: Read, folder: Path | str | None) -> Any:
        if folder is not None:
            return read(self.fetch(folder))
        with tempfile.TemporaryDirectory() as temporary:
            return read(self.fetch(temporary))


class AsyncJobHandle(_Handle):
    """A job of a server, as returned by `AsyncClient.submit` and `AsyncClient.job`; see
    `JobHandle`.

    >>> job = await client.submit("credit", 20_000, seed=1)
    >>> await (await job.wait()).to_pandas()

    Args:
        jobs: of the client.
        status: the server's last report of it.
    """

    def __init__(self, jobs: AsyncJobs, status: Job) -> None:
        super().__init__(status)
        self._jobs = jobs

    async def refresh(self) -> Job:
        """Query and return the job's current state."""
        self._status = await self._jobs.get(self.id)
        return self._status

    async def wait(
        self, timeout: float | None = None, *, progress: Progress | bool | None = True
    ) -> Self:
        """Return once all of its rows are there; see `JobHandle.wait`."""
        report = checked_progress(progress, f"job {self.id}")
        if self._status.state is not JobState.DONE:
            self._done(await self._jobs.wait(self.id, report, timeout=timeout))
        return self

    async def cancel(self) -> Job:
        """Cancel the job, if it has not ended; the server removes what it has made so far."""
        self._status = await self._jobs.cancel(self.id)
        return self._status

    async def fetch(
        self, folder: Path | str, *, progress: Progress | bool | None = None
    ) -> Sequence[Path]:
        """Download the files of a finished job into a folder; see `JobHandle.fetch`."""
        await self.wait()
        report = checked_progress(progress, f"job {self.id}", "bytes")
        return await self._jobs.fetch(self.id, Path(folder), report)

    async def to_arrow(self, folder: Path | str | None = None) -> pa.Table:
        """Return its rows as a pyarrow Table, once it is done; see `JobHandle.to_arrow`."""
        return await self._read(arrow_table, folder)

    async def to_pandas(self, folder: Path | str | None = None) -> pd.DataFrame:
        """Return its rows as a DataFrame of pandas; see `JobHandle.to_pandas`."""
        frame: pd.DataFrame = await self._read(pandas_frame, folder)
        return frame

    async def to_polars(self, folder: Path | str | None = None) -> Any:
        """Return its rows as a DataFrame of polars; see `JobHandle.to_polars`."""
        return await self._read(polars_frame, folder)

    async def to_parquet(
        self, uri: Path | str, *, progress: Progress | bool | None = None
    ) -> list[str]:
        """Export its rows as Parquet; waits for the job; see `JobHandle.to_parquet`."""
        if is_one_file(uri):
            with tempfile.TemporaryDirectory() as temporary:
                paths = await self.fetch(temporary, progress=progress)
                return await asyncio.to_thread(write_file, uri, paths)
        if (folder := local_folder(uri)) is not None:
            await self.fetch(folder, progress=progress)
            return [file.name for file in (await self._whole()).result_files]
        store, done = await asyncio.to_thread(Store, str(uri)), await self._whole()
        report = checked_progress(progress, f"job {self.id}", "bytes")
        for file in await asyncio.to_thread(store.missing, done):
            with tempfile.TemporaryDirectory() as temporary:
                one = replace(done, result_files=(file,))
                (path,) = await self._jobs._fetch(one, Path(temporary), None)
                await asyncio.to_thread(store.put, path, file)
            _tell(report, done, file)
        return [file.name for file in done.result_files]

    async def _whole(self) -> Job:
        await self.wait()
        found = await self._jobs.get(self.id, files=True)
        whole_files(found)
        return found

    async def _read(self, read: Read, folder: Path | str | None) -> Any:
        # Reading takes a while, so keep it out of the event loop.
        if folder is not None:
            return await asyncio.to_thread(read, await self.fetch(folder))
        with tempfile.TemporaryDirectory() as temporary:
            return await asyncio.to_thread(read, await self.fetch(temporary))


def _tell(report: Progress | None, job: Job, file: ResultFile) -> None:
    """Report the downloaded bytes of a job once a file and all before it are complete."""
    if report is not None:
        names = [each.name for each in job.result_files]
        before = job.result_files[: names.index(file.name) + 1]
        report(sum(each.bytes for each in before), sum(each.bytes for each in job.result_files))
