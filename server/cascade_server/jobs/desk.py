"""Where a worker asks the ledger: in a thread, since a ledger waits for the disk and for others."""

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
# Of one message of a file's bytes.
READ_BYTES = 512 * 1024
# Seconds for which whoever submits waits for a store or a database to say what is left of earlier
# results. What it does not say until then cannot be told.
LOOK_SECONDS = 5.0
# Looks at once, of one worker: one that gets no answer may last far longer than it is waited for.
LOOKS = 4


def folder_of(state_dir: Path) -> Path:
    """Where a server has its ledger and the results that are its own."""
    return state_dir / FOLDER


class Desk:
    """Asks the ledger of a server's state folder.

    Args:
        config: where the folder is, and what there may be.
        control: the line to the supervisor, who has executors started; None: there is none.
    """

    def __init__(self, config: ServerConfig, control: Control | None) -> None:
        self._config, self._control = config, control
        self._thread = ThreadPoolExecutor(1, "ledger")
        # Of their own: others, who wait for a disk, are not to wait for a network.
        self._looks = ThreadPoolExecutor(LOOKS, "outputs")
        self._gate = gate_of(config)
        self._audit = None
        if config.access is not None and config.state_dir is not None:
            self._audit = AuditLog(config.state_dir / AUDIT)
        self._ledger: Ledger | None = None
        self.limits = Limits(config.max_jobs, config.job_disk_bytes)

    def close(self) -> None:
        """Let go of the ledger; what waits for it is dropped."""
        self._looks.shutdown(wait=False, cancel_futures=True)
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._ledger is not None:
            self._ledger.close()

    @property
    def folder(self) -> Path:
        """The server's own; raises NotAllowed where it has none."""
        if self._config.state_dir is None:
            raise NotAllowed(NO_FOLDER)
        return folder_of(self._config.state_dir)

    async def submit(self, asked: Asked) -> tuple[Job, bool]:
        """Write a job down, and have it worked off.

        Returns:
            The job, and whether it was there before.

        Raises:
            NotAllowed: the server is not run in a way in which there are jobs.
            NotReady: the ledger cannot be written now.
            JobsError: as `Ledger.submit`, and PolicyForbids where no executor may run it.
        """
        if self._control is None:
            raise NotAllowed(ALONE)
        if not self._config.max_jobs:
            raise NotAllowed(NO_JOBS)
        if importlib.util.find_spec("pyarrow") is None:
            raise NotAllowed(NO_PARQUET)
        folder, output = self.folder, asked.specification.output

        def output_of(name: str) -> tuple[str, bool]:
            # What is written as one thing when all is made is made here.
            if output and not is_delivered(output):
                return output, False
            return str(results_of(folder, name)), True

        asked = replace(asked, tenant=asking().tenant)
        remains = await self._remains(asked)
        found = await self._ask(
            lambda ledger: ledger.submit(asked, output_of, self.limits, remains, self._admit)
        )
        # It is written down: if the server stops just now, the next one works it off.
        with contextlib.suppress(NotReady):
            await self._control.ask("work")
        return found

    def _admit(self, job: Job) -> None:
        if self._gate is not None:
            self._gate.admit(job)
        elif self._audit is not None and job.tenant:
            # Where there is a policy, it is its gate that writes this down.
            self._audit.append({"event": "submitted", **submission(job)})

    def terms(self, table: str) -> Terms:
        """What is said of a table's synthetic rows, by the policy as it is; raises PolicyRefused
        where it cannot be read."""
        return Terms() if self._gate is None else self._gate.terms(table)

    def decisions(self, job: Job) -> tuple[Decision, ...]:
        """Which executors may run a job, and why others may not; none: there is no policy."""
        return () if self._gate is None else self._gate.decisions(job)

    async def _remains(self, asked: Asked) -> Remains:
        """What is left of earlier results: of jobs that could be reused, and where the job's own
        files are to go.

        It is looked for before the ledger is asked to write, for nobody is to wait for a network
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
                # Whoever is done by now has written all that he writes.
                done = await self._ask(lambda ledger: ledger.done_at(output))
                nothing = await self._look(lambda: is_empty(self._store(output, "")))
        except (TimeoutError, NotAllowed, NotReady):  # it cannot be told in time, or not here
            return Remains(gone)
        if nothing is None:
            return Remains(gone)
        return Remains(gone, done if nothing else (), not nothing)

    async def _is_there(self, job: Job) -> bool:
        parts = await self._ask(lambda ledger: ledger.files(job.id))
        try:
            return await self._look(lambda: is_still_there(job, parts, self.store(job)))
        except (NotAllowed, NotReady):
            return True  # this server cannot look

    async def _look(self, look: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._looks, look)

    async def job(self, name: str) -> Job:
        """One job of whoever asks; raises as `Ledger.job`, NotAllowed and NotReady."""
        caller = asking()
        return await self._ask(lambda ledger: own(ledger.job(name), caller))

    async def job_and_parts(self, name: str) -> tuple[Job, list[Part]]:
        """The same, and its files that are whole, its manifest last."""

        caller = asking()

        def both(ledger: Ledger) -> tuple[Job, list[Part]]:
            return own(ledger.job(name), caller), ledger.files(name)

        return await self._ask(both)

    async def job_and_part(self, name: str, number: int) -> tuple[Job, Part | None]:
        """The same, and one of its files by its number; None: it is not whole."""

        caller = asking()

        def both(ledger: Ledger) -> tuple[Job, Part | None]:
            return own(ledger.job(name), caller), ledger.part(name, number)

        return await self._ask(both)

    async def job_and_leading(self, name: str) -> tuple[Job, int]:
        """The same, and how many of its files are whole up to the first that is not."""

        caller = asking()

        def both(ledger: Ledger) -> tuple[Job, int]:
            return own(ledger.job(name), caller), ledger.leading(name)

        return await self._ask(both)

    async def jobs(self, most: int) -> list[Job]:
        """The newest jobs of whoever asks, newest first."""
        caller = asking()
        tenant = None if caller.sees_all_tenants else caller.tenant
        found = await self._ask(lambda ledger: ledger.jobs(most, tenant))
        return [job for job in found if caller.grant.sees(job.specification.table)]

    async def cancel(self, name: str) -> Job:
        """End a job; raises as `Ledger.cancel`. Its files are removed."""
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
        """Where a job's results are.

        Raises:
            NotAllowed: this server cannot read there.
            NotReady: it cannot now.
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
        """Bytes of a file that is whole, from one of them on; none at its end.

        Raises:
            BadRequest: there are not so many.
            NotReady: they cannot be read.
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
    """A job of whoever asks, of a table that it sees.

    Raises:
        UnknownJob: it is none; another's is told from one that there is not by nobody.
    """
    if not caller.owns(job.tenant) or not caller.grant.sees(job.specification.table):
        raise UnknownJob.of(job.id)
    return job


def submission(job: Job) -> Mapping[str, object]:
    """A job that is written down, for the audit log."""
    made = job.specification
    return {
        "job": job.id,
        "tenant": job.tenant,
        "table": made.table,
        "version": made.version,
        "rows": made.rows,
        "specification": made.digest,
    }
