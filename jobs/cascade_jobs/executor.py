"""Works off the ledger: takes a file's lease, has its rows drawn, writes it, and says so.

It may be killed between any two statements. What it has not committed is made anew, from the first
row of the file on, and is the same; what it has committed is whole and on the disk.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import Protocol

from cascade_tables import Frame

from cascade_jobs import delivering
from cascade_jobs.descriptions.describe import describe
from cascade_jobs.errors import Cause, JobFailed, JobsError, JobWaits, LeaseLost, PolicyRefused
from cascade_jobs.job import Job, Lease, Part
from cascade_jobs.ledger import Ledger
from cascade_jobs.ledger.leases import Gate
from cascade_jobs.ledger.owners import Owner
from cascade_jobs.parquet import ParquetFile, manifest
from cascade_jobs.retrying import RetryConfig, judged
from cascade_jobs.shards import Shard
from cascade_jobs.specification import Specification
from cascade_jobs.states import JobState
from cascade_jobs.stores import Store, store_of

log = logging.getLogger("cascade.jobs")

# Seconds between looks for files that others do not make after all.
LOOK_SECONDS = 0.25
# That a file may take on its way to a URL.
UPLOAD_SECONDS = 3600.0


class Drawing(Protocol):
    """Makes rows. Which, the specification says and nothing else: whoever asks is given the same,
    however the rows are asked for."""

    def rows(
        self, specification: Specification, conditions: bytes, shard: Shard
    ) -> Generator[Frame | None, None, None]:
        """A shard's rows, some at a time and in their order; None: there are none yet, and whoever
        waits for them is to say that he still does. It is to be closed by who reads no further.

        Args:
            specification: of the job.
            conditions: the rows to complete, as they were sent; empty: there are none.
            shard: which of the job's rows.

        Raises:
            JobFailed: they cannot be drawn, now or later; says why.
            JobWaits: who draws them is away.
        """


@dataclass(frozen=True)
class ExecutorConfig:
    """How an executor works.

    Attributes:
        lease_seconds: that a lease is good for without being renewed.
        renew_seconds: between renewals, which tell of progress too.
        quota_bytes: of results in the server's own folder.
        forget_seconds: after which a job that has ended is forgotten.
        retry: how patient a job is.
    """

    lease_seconds: float = 120.0
    renew_seconds: float = 1.0
    quota_bytes: int = 2**63
    forget_seconds: float = 7 * 86_400.0
    retry: RetryConfig = field(default_factory=RetryConfig)


class Executor:
    """Makes files, one at a time.

    Args:
        ledger: what is to be made. Its clock is asked for leases.
        drawing: makes rows.
        owner: this executor's name, and who else is gone.
        folder: the server's own, for results and for files on their way to URLs.
        config: how to work.
        clock: seconds since 1970-01-01 UTC, as the ledger's.
        gate: which jobs it may run; None: all.
        turns_to: is told of the job each time before rows of it are drawn.
    """

    def __init__(
        self,
        ledger: Ledger,
        drawing: Drawing,
        owner: Owner,
        folder: Path,
        config: ExecutorConfig | None = None,
        clock: Callable[[], float] = time.time,
        gate: Gate | None = None,
        turns_to: Callable[[Job], None] = lambda _: None,
    ) -> None:
        self._turns_to = turns_to
        self._ledger, self._drawing, self._owner, self._gate = ledger, drawing, owner, gate
        self._folder, self._config, self._clock = folder, config or ExecutorConfig(), clock

    def store(self, job: Job) -> Store:
        """Where a job's results go; raises as `store_of`."""
        return store_of(job.output, spool_of(self._folder, job.id))

    def work(self, stop: Event, wait: Callable[[Event, float], object] = Event.wait) -> None:
        """Work until there is nothing left to be done, or until it is asked to stop.

        It waits for files that others make, whom it may have to replace.

        Args:
            stop: set when it is to stop; what it has begun is given back.
            wait: waits so many seconds, or until the event is set.
        """
        failures = 0
        while not stop.is_set():
            try:
                if self.step(stop):
                    failures = 0
                    continue
                key = "" if self._gate is None else self._gate.now().key
                due = self._ledger.next_work(self._config.forget_seconds, key)
                if due is None or due > self._clock() + self._config.retry.longest_seconds:
                    return
                rest = min(max(due - self._clock(), LOOK_SECONDS), 1.0)
                failures = 0
            except (sqlite3.Error, PolicyRefused) as exc:
                # A full disk, somebody who has the ledger for long, or a policy that is no more.
                log.error("jobs wait, %s: %s", self._ledger.path, exc)
                rest = self._config.retry.rest(failures)
                failures += 1
            wait(stop, rest)

    def step(self, stop: Event | None = None) -> bool:
        """Do one thing that is to be done: make a file, or remove what nobody wants.

        Returns:
            Whether there was any.
        """
        # First of all, since others may wait for the room.
        if self._clean():
            return True
        lease = self._ledger.claim(
            self._owner.name,
            self._config.lease_seconds,
            self._is_free,
            self._gate,
            self._owner.was_dismissed,
        )
        if lease is None:
            return False
        try:
            self._make(lease, stop or Event())
        except LeaseLost as exc:
            log.info("%s", exc)
            # Of a job that has ended it is tidied when nobody makes a file of it any more.
            self._ledger.put_off(lease)
        except Exception as exc:
            self._failed(lease, exc)
        return True

    def _is_free(self, owner: str) -> bool:
        """Whether nobody makes what an owner has leases of: it is gone, or it is this one, which
        makes nothing now. It may have been unable to say so, where the ledger's disk was full."""
        return owner == self._owner.name or self._owner.is_gone(owner)

    def _failed(self, lease: Lease, error: Exception) -> None:
        job = lease.job
        found = judged(error, job.output, lease.name)
        if not isinstance(error, JobsError | OSError | sqlite3.Error):
            log.error("job %s, %s", job.id, lease.name, exc_info=error)
        if isinstance(found, JobFailed):
            log.error("job %s has failed: %s", job.id, found)
            self._ledger.fail(lease, str(found), found.cause)
            return
        patience = self._config.retry.patience_seconds
        if job.waited > patience:
            why = f"{found}; it has waited for {patience / 3600:g} hours"
            self._ledger.fail(lease, why, found.cause)
            return
        rest = self._config.retry.rest(job.tries)
        self._ledger.give_back(lease, str(found), self._clock() + rest, found.cause)

    def _make(self, lease: Lease, stop: Event) -> None:
        store = self.store(lease.job)
        if lease.shard is None:
            self._make_manifest(lease, store)
            return
        if lease.job.is_owned and (used := self._ledger.owned_bytes()) >= self._config.quota_bytes:
            raise JobWaits(
                f"results take {used:,} bytes, and job_disk_mib allows "
                f"{self._config.quota_bytes:,}; there is room when jobs are forgotten",
                Cause.QUOTA,
            )
        if self._is_delivered(lease.job) and not lease.job.shards_done:
            delivering.check(lease.job)
        if not lease.job.is_begun:
            self._begin(lease, store)
        path = store.temporary(lease.name, lease.fence)
        file = ParquetFile(path, lease.job.specification)
        try:
            if not self._draw(lease, lease.shard, file, stop):
                return
            if file.rows != lease.shard.rows:
                raise RuntimeError(f"{file.rows:,} rows were drawn of {lease.shard.rows:,}")
            sha256, size = file.finish()
            self._publish(lease, store, path, sha256, size)
        finally:
            file.drop()

    def _begin(self, lease: Lease, store: Store) -> None:
        """Before anything is written to an output that is somebody's: nothing of theirs is written
        over, or read as rows of the job. Whoever asked for the job may have looked too early, or
        in vain."""
        job = lease.job
        if not job.is_owned and not store.is_empty() and not self._ledger.job(job.id).is_begun:
            raise JobFailed(
                f"output {job.output} is not empty: something was put there since the job was "
                "asked for, or could not be seen then; name a folder or URL that is",
                Cause.OUTPUT,
            )
        self._ledger.begin(lease)

    def _draw(self, lease: Lease, shard: Shard, file: ParquetFile, stop: Event) -> bool:
        """Have a shard's rows drawn and written; False: it is to stop, and has given them back."""
        renewed = self._clock()
        self._turns_to(lease.job)
        drawing = self._drawing.rows(lease.job.specification, lease.conditions, shard)
        with closing(drawing):
            for rows in drawing:
                if rows is not None:
                    file.add(rows)
                now = self._clock()
                if now - renewed >= self._config.renew_seconds or now < renewed:
                    self._ledger.renew(lease, file.rows, self._config.lease_seconds)
                    renewed = now
                if stop.is_set():
                    self._ledger.put_off(lease)
                    return False
        return True

    def _make_manifest(self, lease: Lease, store: Store) -> None:
        store.sweep(lease.job.names)
        parts, beside = self._ledger.parts(lease.job.id), []
        if not store.is_quick:
            self._ledger.renew(lease, 0, UPLOAD_SECONDS)
        # Before the manifest, which has their checksums; whoever has been replaced in the meantime
        # gives a name to the bytes that the other one gives it to.
        for name, content in describe(lease.job, parts).items():
            with _written(store.temporary(name, lease.fence), content) as path:
                store.publish(path, name)
            beside.append(_part(name, content, lease.job))
        if self._is_delivered(lease.job):
            self._deliver(lease, parts)
        content = manifest(lease.job, parts, beside)
        with _written(store.temporary(lease.name, lease.fence), content) as path:
            made = _part(lease.name, content, lease.job)
            self._publish(lease, store, path, made.sha256, made.bytes, beside)

    def _deliver(self, lease: Lease, parts: Sequence[Part]) -> None:
        """Have the rows written where they are to be as one thing."""

        def still_held() -> None:
            self._ledger.renew(lease, 0, UPLOAD_SECONDS)

        still_held()
        delivering.deliver(lease.job, parts, still_held)
        try:
            still_held()
        except LeaseLost:
            # Cancelled in the very moment; where somebody else has the lease, the rows are theirs.
            if self._ledger.job(lease.job.id).state in (JobState.CANCELLED, JobState.FAILED):
                delivering.take_back(lease.job)
            raise

    def _is_delivered(self, job: Job) -> bool:
        return job.is_owned and delivering.is_delivered(job.specification.output)

    def _publish(
        self,
        lease: Lease,
        store: Store,
        path: Path,
        sha256: str,
        size: int,
        beside: Sequence[Part] = (),
    ) -> None:
        """Give a file its name, and write down that it is whole."""
        if store.is_quick:
            publish = partial(store.publish, path, lease.name)
            self._ledger.commit(lease, sha256, size, publish, beside)
            return
        # Nobody is to wait for the ledger meanwhile. Who has been replaced in the meantime has
        # sent the bytes that the other one sends.
        self._ledger.renew(lease, 0 if lease.shard is None else lease.shard.rows, UPLOAD_SECONDS)
        store.publish(path, lease.name)
        self._ledger.commit(lease, sha256, size, beside=beside)

    def _clean(self) -> bool:
        """Remove the files of one job that came to nothing, or is forgotten."""
        job = self._ledger.to_clean(self._is_free)
        if job is not None:
            if self._is_delivered(job):
                self._take_back(job)
            self._remove(job)
            self._ledger.cleaned(job.id)
            return True
        job = self._ledger.to_forget(self._config.forget_seconds)
        if job is None:
            return False
        if job.is_owned:
            self._remove(job)
        self._ledger.forget(job.id)
        return True

    def _take_back(self, job: Job) -> None:
        try:
            delivering.take_back(job)
        except JobsError as exc:
            log.error("what job %s has written may be left: %s", job.id, exc)

    def _remove(self, job: Job) -> None:
        """Remove what there is of a job's results; what cannot be removed is said once. Whatever a
        store's package raises must not keep other jobs waiting."""
        if not job.is_begun:
            return  # what is there is nobody's but whose it was before
        try:
            self.store(job).remove(job.names, job.is_owned)
        except Exception as exc:
            log.error("results of job %s are left at %s: %s", job.id, job.output, exc)


@contextmanager
def _written(path: Path, content: bytes) -> Iterator[Path]:
    """A file that is on the disk, and is no more where it has not been given another name."""
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def _part(name: str, content: bytes, job: Job) -> Part:
    sha256 = hashlib.sha256(content).hexdigest()
    return Part(name, job.specification.rows, 0, len(content), sha256)


def spool_of(folder: Path, job: str) -> Path:
    """Where files are made that go to URLs."""
    return folder / "spool" / job


def results_of(folder: Path, job: str) -> Path:
    """The server's own folder for a job's results."""
    return folder / "results" / job


def leave(owner: Owner, ledger: Ledger) -> None:
    """Close the ledger and give up the owner's lock, so that others may take over its files."""
    with suppress(sqlite3.Error):
        ledger.close()
    owner.leave()
