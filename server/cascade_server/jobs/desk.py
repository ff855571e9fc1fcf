"""A worker's access to the ledger: in a thread, since a ledger waits for disk and for locks."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cascade_jobs.audit.log import FOLDER as AUDIT
from cascade_jobs.audit.log import AuditLog
from cascade_jobs.delivering import is_delivered
from cascade_jobs.errors import JobFailed, TooManyJobs, UnknownJob
from cascade_jobs.executor import results_of, spool_of
from cascade_jobs.facts import Terms
from cascade_jobs.job import Job, Part
from cascade_jobs.ledger import NAME, Asked, Ledger, Limits, Remains
from cascade_jobs.policy.decision import Decision
from cascade_jobs.remaining import is_empty, is_still_there, is_taken
from cascade_jobs.stores import Store, store_of

from cascade_server.access.asking import asking
from cascade_server.access.grants import Caller
from cascade_server.config import ServerConfig
from cascade_server.errors import BadRequest, NotAllowed, NotReady
from cascade_server.jobs.gates import gate_of
from cascade_server.supervision.control import Control

T = TypeVar("T")

FOLDER = "jobs"
NO_FOLDER = (
    "this server keeps no jobs, for it has no folder that outlives it; `cascade serve --state-dir "
    "FOLDER` starts one that does"
)
ALONE = (
    "this server is a process by itself, beside which nobody works off jobs; `cascade serve` "
    "starts one that has executors"
)
NO_JOBS = "this server takes no jobs (max_jobs is 0); ask one that does"
NO_PARQUET = (
    "this server cannot write results, which are Parquet; `pip install cascade-synthesis[jobs]` "
    "where it runs"
)
CANCELLED = "cancelled by a caller"
# Bytes of a file per message.
READ_BYTES = 512 * 1024
# Seconds for which a submission waits for a store or database to report earlier results. What is
# not reported by then counts as unknown.
LOOK_SECONDS = 5.0
# Simultaneous look-ups of one worker; one without an answer may take far longer than its caller
# waits.
LOOKS = 4


def folder_of(state_dir: Path) -> Path:
    """Return the folder of a server's ledger and of results stored locally."""
    return state_dir / FOLDER


class Desk:
    """Accesses the ledger in a server's state folder.

    Args:
        config: the folder, and the limits.
        control: the connection to the supervisor, which starts executors; None if there is none.
    """

    def __init__(self, config: ServerConfig, control: Control | None) -> None:
        self._config, self._control = config, control
        self._thread = ThreadPoolExecutor(1, "ledger")
        # Separate threads: tasks that wait for a disk should not wait for a network.
        self._looks = ThreadPoolExecutor(LOOKS, "outputs")
        self._gate = gate_of(config)
        self._audit = None
        if config.access is not None and config.state_dir is not None:
            self._audit = AuditLog(config.state_dir / AUDIT)
        self._ledger: Ledger | None = None
        self.limits = Limits(config.max_jobs, config.job_disk_bytes)

    def close(self) -> None:
        """Close the ledger; waiting tasks are dropped."""
        self._looks.shutdown(wait=False, cancel_futures=True)
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._ledger is not None:
            self._ledger.close()

    @property
    def folder(self) -> Path:
        """The server's own folder; raises NotAllowed if it has none."""
        if self._config.state_dir is None:
            raise NotAllowed(NO_FOLDER)
        return folder_of(self._config.state_dir)

    async def submit(self, asked: Asked) -> tuple[Job, bool]:
        """Record a job, and have it run.

        Returns:
            The job, and whether it existed before.

        Raises:
            NotAllowed: the server's configuration does not allow jobs.
            NotReady: the ledger cannot be written now.
            JobsError: as `Ledger.submit`, and PolicyForbids if no executor may run it.
        """
        if self._control is None:
            raise NotAllowed(ALONE)
        if not self._config.max_jobs:
            raise NotAllowed(NO_JOBS)
        if importlib.util.find_spec("pyarrow") is None:
            raise NotAllowed(NO_PARQUET)
        folder, output = self.folder, asked.specification.output

        def output_of(name: str) -> tuple[str, bool]:
            # Output that is written as a whole after all rows are made is made here.
            if output and not is_delivered(output):
                return output, False
            return str(results_of(folder, name)), True

        asked = replace(asked, tenant=asking().tenant)
        remains = await self._remains(asked)
        found = await self._ask(
            lambda ledger: ledger.submit(asked, output_of, self.limits, remains, self._admit)
        )
        # The job is recorded: if the server stops now, the next one runs it.
        with contextlib.suppress(NotReady):
            await self._control.ask("work")
        return found

    def _admit(self, job: Job) -> None:
        if self._gate is not None:
            self._gate.admit(job)
        elif self._audit is not None and job.tenant:
            # With a policy, its gate writes this line.
            self._audit.append({"event": "submitted", **submission(job)})

    def terms(self, table: str) -> Terms:
        """Return the terms for a table's synthetic rows under the current policy.

        Raises PolicyRefused if the policy cannot be read.
        """
        return Terms() if self._gate is None else self._gate.terms(table)

    def decisions(self, job: Job) -> tuple[Decision, ...]:
        """Return which executors may run a job, and why others may not; empty without a policy."""
        return () if self._gate is None else self._gate.decisions(job)

    async def _remains(self, asked: Asked) -> Remains:
        """Find what is left of earlier results: of reusable jobs, and at the job's own destination.

        This happens before the ledger is locked for writing, so that nobody waits for a network
        while it is locked.
        """
        gone, output = set[str](), asked.specification.output
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                if not asked.fresh:
                    for job in await self._ask(
                        lambda ledger: ledger.done_like(asked.specification, asked.tenant)
                    ):
                        if await self._is_there(job):
                            return Remains(gone)
                        gone.add(job.id)
                if not output:
                    return Remains(gone)
                if is_delivered(output):
                    return Remains(gone, (), await self._look(lambda: is_taken(output)))
                # Jobs that are done by now will write nothing more.
                done = await self._ask(lambda ledger: ledger.done_at(output))
                nothing = await self._look(lambda: is_empty(self._store(output, "")))
        except (TimeoutError, NotAllowed, NotReady):  # unknown in this time, or to this server
            return Remains(gone)
        if nothing is None:
            return Remains(gone)
        return Remains(gone, done if nothing else (), not nothing)

    async def _is_there(self, job: Job) -> bool:
        parts = await self._ask(lambda ledger: ledger.files(job.id))
        try:
            return await self._look(lambda: is_still_there(job, parts, self.store(job)))
        except (NotAllowed, NotReady):
            return True  # this server cannot look there

    async def _look(self, look: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._looks, look)

    async def job(self, name: str) -> Job:
        """Return a job of the caller; raises as `Ledger.job`, NotAllowed and NotReady."""
        caller = asking()
        return await self._ask(lambda ledger: own(ledger.job(name), caller))

    async def job_and_parts(self, name: str) -> tuple[Job, list[Part]]:
        """Return the same, and its complete files, the manifest last."""

        caller = asking()

        def both(ledger: Ledger) -> tuple[Job, list[Part]]:
            return own(ledger.job(name), caller), ledger.files(name)

        return await self._ask(both)

    async def job_and_part(self, name: str, number: int) -> tuple[Job, Part | None]:
        """Return the same, and one of its files by number; None if it is not complete."""

        caller = asking()

        def both(ledger: Ledger) -> tuple[Job, Part | None]:
            return own(ledger.job(name), caller), ledger.part(name, number)

        return await self._ask(both)

    async def job_and_leading(self, name: str) -> tuple[Job, int]:
        """Return the same, and how many of its files are complete before the first that is not."""

        caller = asking()

        def both(ledger: Ledger) -> tuple[Job, int]:
            return own(ledger.job(name), caller), ledger.leading(name)

        return await self._ask(both)

    async def jobs(self, most: int) -> list[Job]:
        """Return the caller's newest jobs, newest first."""
        caller = asking()
        tenant = None if caller.sees_all_tenants else caller.tenant
        found = await self._ask(lambda ledger: ledger.jobs(most, tenant))
        return [job for job in found if caller.grant.sees(job.specification.table)]

    async def cancel(self, name: str) -> Job:
        """End a job and remove its files; raises as `Ledger.cancel`."""
        caller = asking()

        def cancelled(ledger: Ledger) -> Job:
            if not caller.sees_all_tenants:
                own(ledger.job(name), caller)
            return ledger.cancel(name, CANCELLED)

        job = await self._ask(cancelled)
        if self._control is not None:
            with contextlib.suppress(NotReady):
                await self._control.ask("work")
        return job

    def store(self, job: Job) -> Store:
        """Return the store of a job's results.

        Raises:
            NotAllowed: this server cannot read there.
            NotReady: it cannot read there now.
        """
        return self._store(job.output, job.id)

    def _store(self, output: str, job: str) -> Store:
        try:
            return store_of(output, spool_of(self.folder, job))
        except JobFailed as exc:
            raise NotAllowed(str(exc)) from exc
        except OSError as exc:
            why = exc.strerror or str(exc)
            raise NotReady(f"{output} cannot be opened now: {why}") from exc

    async def read(self, job: Job, part: Part, offset: int) -> bytes:
        """Read bytes of a complete file from an offset on; returns none at the end.

        Raises:
            BadRequest: the offset is beyond the file.
            NotReady: the bytes cannot be read.
            NotAllowed: as `store`.
        """
        if offset > part.bytes:
            raise BadRequest(f"offset is {offset:,}; {part.name} has {part.bytes:,} bytes")
        store = self.store(job)
        size = min(READ_BYTES, part.bytes - offset)
        if not size:
            return b""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(None, store.read, part.name, offset, size)
        except OSError as exc:
            why = exc.strerror or str(exc)
            raise NotReady(f"{job.output}/{part.name} cannot be read: {why}") from exc
        if not found:
            raise NotReady(f"{job.output}/{part.name} is shorter than it was made")
        return found

    async def _ask(self, ask: Callable[[Ledger], T]) -> T:
        path = self.folder / NAME

        def asked() -> T:
            try:
                if self._ledger is None:
                    self._ledger = Ledger(path)
                return ask(self._ledger)
            except sqlite3.Error as exc:
                if "full" in str(exc):
                    raise TooManyJobs(
                        f"the ledger of jobs cannot be written ({exc}); make room where the "
                        f"server's state_dir is: {path.parent.parent}"
                    ) from exc
                raise NotReady(f"the ledger of jobs cannot be asked now: {exc}") from exc
            except OSError as exc:
                why = f"{exc.strerror}: {exc.filename}" if exc.filename else str(exc)
                raise NotReady(f"the audit log of jobs cannot be written now: {why}") from exc

        return await asyncio.get_running_loop().run_in_executor(self._thread, asked)


def own(job: Job, caller: Caller) -> Job:
    """Check that a job is the caller's, and of a table that the caller may see.

    Raises:
        UnknownJob: it is not. Another caller's job looks the same as one that does not exist.
    """
    if not caller.owns(job.tenant) or not caller.grant.sees(job.specification.table):
        raise UnknownJob.of(job.id)
    return job


def submission(job: Job) -> Mapping[str, object]:
    """Return a recorded job's fields for the audit log."""
    made = job.specification
    return {
        "job": job.id,
        "tenant": job.tenant,
        "table": made.table,
        "version": made.version,
        "rows": made.rows,
        "specification": made.digest,
    }
