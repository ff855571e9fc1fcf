"""Makes the files of jobs: takes the lease of one, has its rows drawn, writes it, and commits it.

An executor may be killed between any two statements. A file that it has committed is whole and on
the disk; any other is made again from its first row, with the same bytes.
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

# Seconds between looks for files whose executors have died.
LOOK_SECONDS = 0.25
# Seconds that the upload of a file may take before its lease ends.
UPLOAD_SECONDS = 3600.0


class Drawing(Protocol):
    """Draws the rows of jobs. They depend on the specification alone, so that a file that is made
    again has the same bytes."""

    def rows(
        self, specification: Specification, conditions: bytes, shard: Shard
    ) -> Generator[Frame | None, None, None]:
        """Yield a shard's rows in order, some at a time.

        It yields None now and then while there are no rows yet, for the reader to renew its lease.
        A reader that stops early has to close the generator.

        Args:
            specification: of the job.
            conditions: the rows to complete, as they were sent; empty: whole rows are drawn.
            shard: which of the job's rows.

        Raises:
            JobFailed: they cannot be drawn, now or later; says why.
            JobWaits: the network cannot be reached now.
        """


@dataclass(frozen=True)
class ExecutorConfig:
    """How an executor works.

    Attributes:
        lease_seconds: how long a lease lasts unless it is renewed.
        renew_seconds: seconds between renewals, which also report progress.
        quota_bytes: bytes of results in the server's own folder above which jobs wait.
        forget_seconds: seconds after its end after which a job is forgotten.
        retry: when a file is tried again, and for how long.
    """

    lease_seconds: float = 120.0
    renew_seconds: float = 1.0
    quota_bytes: int = 2**63
    forget_seconds: float = 7 * 86_400.0
    retry: RetryConfig = field(default_factory=RetryConfig)


class Executor:
    """Makes the files of jobs, one at a time.

    Args:
        ledger: the record of jobs, which hands out leases by its own clock.
        drawing: draws rows.
        owner: this executor's identity, and what it knows of other executors that have died.
        folder: the server's own folder, for results and for files on their way to URLs.
        config: how to work.
        clock: seconds since 1970-01-01 UTC, the same as the ledger's.
        gate: decides which jobs this executor may run; None: all.
        turns_to: called with the job each time before rows of it are drawn.
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
        """The store of a job's results; raises as `store_of`."""
        return store_of(job.output, spool_of(self._folder, job.id))

    def work(self, stop: Event, wait: Callable[[Event, float], object] = Event.wait) -> None:
        """Work until there is nothing left to do, or until it is asked to stop.

        While other executors are making files it waits, for one of them may die and have to be
        replaced.

        Args:
            stop: set to have it stop; the lease of an unfinished file is given back.
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
                # The disk is full, the ledger is locked for long, or the policy file is invalid.
                log.error("jobs wait, %s: %s", self._ledger.path, exc)
                rest = self._config.retry.rest(failures)
                failures += 1
            wait(stop, rest)

    def step(self, stop: Event | None = None) -> bool:
        """Do one piece of work: make a file, or remove the files of a job that came to nothing.

        Returns:
            Whether there was any.
        """
        # Removing comes first, since other jobs may wait for the room.
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
            # If the job has ended, its files are removed once no executor works on it any more.
            self._ledger.put_off(lease)
        except Exception as exc:  # whatever a store or a network raises: one job fails, or waits
            self._failed(lease, exc)
        return True

    def _is_free(self, owner: str) -> bool:
        """Whether the leases of an owner may be taken: it is gone, or it is this executor itself.

        This one asks only between files. A lease of its own is then one that it could not give
        back, as when the ledger's disk was full.
        """
        return owner == self._owner.name or self._owner.is_gone(owner)

    def _failed(self, lease: Lease, error: Exception) -> None:
        """Have a file be tried again later, or fail its job: by the error, and by how long the job
        has waited already."""
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
        """Make the file of a lease: one with rows, or the job's manifest.

        Raises:
            JobWaits: there is no room for more results now.
        """
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
        """Check that a user's own output is empty, and note that the job begins to write there.

        So nothing of the user's is overwritten, or taken for rows of the job. It was checked when
        the job was submitted, but may have been filled since, or could not be read then.

        Raises:
            JobFailed: there are files in it.
        """
        job = lease.job
        if not job.is_owned and not store.is_empty() and not self._ledger.job(job.id).is_begun:
            raise JobFailed(
                f"output {job.output} is not empty: something was put there since the job was "
                "asked for, or could not be seen then; name a folder or URL that is",
                Cause.OUTPUT,
            )
        self._ledger.begin(lease)

    def _draw(self, lease: Lease, shard: Shard, file: ParquetFile, stop: Event) -> bool:
        """Have a shard's rows drawn and written; False: it was asked to stop, and put them off."""
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
        # Before the manifest, which has their checksums. An executor that has lost its lease in the
        # meantime does no harm: the other one writes the same bytes.
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
        """Write all rows to the one table or file that was asked for."""

        def still_held() -> None:
            self._ledger.renew(lease, 0, UPLOAD_SECONDS)

        still_held()
        delivering.deliver(lease.job, parts, still_held)
        try:
            still_held()
        except LeaseLost:
            # The job was cancelled meanwhile. If another executor has the lease, it wrote the rows.
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
        """Give a finished file its name, and commit that to the ledger."""
        if store.is_quick:
            publish = partial(store.publish, path, lease.name)
            self._ledger.commit(lease, sha256, size, publish, beside)
            return
        # An upload takes long, and must not hold the ledger's lock. An executor that loses its
        # lease meanwhile has sent the same bytes as the one that replaces it.
        self._ledger.renew(lease, 0 if lease.shard is None else lease.shard.rows, UPLOAD_SECONDS)
        store.publish(path, lease.name)
        self._ledger.commit(lease, sha256, size, beside=beside)

    def _clean(self) -> bool:
        """Remove the files of one job that failed or is forgotten; False: there is none."""
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
        """Remove a job's results; what cannot be removed is logged and left."""
        if not job.is_begun:
            return  # whatever is in its output was there before
        try:
            self.store(job).remove(job.names, job.is_owned)
        except Exception as exc:  # of any store's package: it must not keep other jobs waiting
            log.error("results of job %s are left at %s: %s", job.id, job.output, exc)


@contextmanager
def _written(path: Path, content: bytes) -> Iterator[Path]:
    """Write a file to the disk for the block; removed after it, unless it was renamed there."""
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
    """The folder in which a job's files are made before they are uploaded."""
    return folder / "spool" / job


def results_of(folder: Path, job: str) -> Path:
    """The folder of a job's results, where the server keeps them itself."""
    return folder / "results" / job


def leave(owner: Owner, ledger: Ledger) -> None:
    """Close the ledger and give up the owner's lock, so that others may take over its files."""
    with suppress(sqlite3.Error):
        ledger.close()
    owner.leave()
