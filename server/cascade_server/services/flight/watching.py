"""Waiting for a job to go on: whoever waits for the same one looks once for all."""

from __future__ import annotations

import asyncio

from cascade_jobs.job import Job

from cascade_server.errors import NotAllowed, NotReady
from cascade_server.jobs.desk import Desk

# Seconds between looks at a job that somebody waits for.
LOOK_SECONDS = 0.25
STOPPING = "the server is stopping; the job goes on with the next one: ask that one"


class Watching:
    """Looks at jobs.

    Args:
        desk: asks the ledger.
        stopping: set once the server is to stop; nobody waits any longer then.
    """

    def __init__(self, desk: Desk, stopping: asyncio.Event) -> None:
        self._desk, self._stopping = desk, stopping
        self._looks: dict[str, asyncio.Task[Job]] = {}

    async def changed(self, before: Job) -> Job:
        """The job once it has more files that are whole, or has ended.

        Raises:
            NotReady: the server is stopping, or the ledger cannot be asked.
            UnknownJob: it has been forgotten meanwhile.
        """
        while True:
            if self._stopping.is_set():
                raise NotReady(STOPPING)
            look = self._looks.get(before.id)
            if look is None:
                look = self._looks[before.id] = asyncio.create_task(self._look(before.id))
            now = await asyncio.shield(look)
            if (now.state, now.shards_done) != (before.state, before.shards_done):
                return now

    async def _look(self, name: str) -> Job:
        try:
            await asyncio.sleep(LOOK_SECONDS)
            return await self._desk.job(name)
        finally:
            del self._looks[name]

    def close(self) -> None:
        """End all looks at jobs; whoever waits for one is cancelled."""
        for look in self._looks.values():
            look.cancel()


def has_results(job: Job) -> bool:
    """Whether a job has results, or will have some."""
    return job.state not in ("FAILED", "CANCELLED")


def check_results(job: Job) -> None:
    """Refuse a job that has none, and never will.

    Raises:
        NotAllowed: says why.
    """
    if not has_results(job):
        how = "has failed" if job.state == "FAILED" else "was cancelled"
        raise NotAllowed(f"job {job.id} {how} and has no results: {job.reason}")
