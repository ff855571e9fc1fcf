"""Waits for progress of jobs; all callers that wait for one job share its polls."""

from __future__ import annotations

import asyncio

from cascade_jobs.job import Job

from cascade_server.errors import NotAllowed, NotReady
from cascade_server.jobs.desk import Desk

# Seconds between polls of a job that a caller waits for.
LOOK_SECONDS = 0.25
STOPPING = "the server is stopping; the job goes on with the next one: ask that one"


class Watching:
    """Polls jobs.

    Args:
        desk: reads the ledger.
        stopping: set once the server begins to stop; all waiting then ends.
    """

    def __init__(self, desk: Desk, stopping: asyncio.Event) -> None:
        self._desk, self._stopping = desk, stopping
        self._looks: dict[str, asyncio.Task[Job]] = {}

    async def changed(self, before: Job) -> Job:
        """Wait until a job has more complete files or has ended, and return it.

        Raises:
            NotReady: the server is stopping, or the ledger cannot be asked.
            UnknownJob: the ledger has dropped it meanwhile.
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
        """Cancel all polls, and with them the callers that wait."""
        for look in self._looks.values():
            look.cancel()


def has_results(job: Job) -> bool:
    """Return whether a job has results, or will have some."""
    return job.state not in ("FAILED", "CANCELLED")


def check_results(job: Job) -> None:
    """Refuse a job that has no results and never will.

    Raises:
        NotAllowed: says why.
    """
    if not has_results(job):
        how = "has failed" if job.state == "FAILED" else "was cancelled"
        raise NotAllowed(f"job {job.id} {how} and has no results: {job.reason}")
