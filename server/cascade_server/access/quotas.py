"""What tenants have used of a day, kept over a restart: to start anew gives nobody a new day."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from pathlib import Path

from cascade_server.access import rates
from cascade_server.access.access import Access
from cascade_server.counts.shared.tenant_counts import MICRO
from cascade_server.state_folder import load, save

log = logging.getLogger("cascade.access")

# In a server's state folder.
NAME = "quotas.json"


class QuotaFile:
    """Writes down what tenants have used; of the one process that keeps a server's books.

    Args:
        folder: the server's own.
        access: of the process.
        seconds: between two times that it is written.
    """

    def __init__(self, folder: Path, access: Access, seconds: float) -> None:
        self._path, self._access, self._seconds = folder / NAME, access, seconds
        self._task: asyncio.Task[None] | None = None

    def restore(self) -> None:
        """Go on from what was written today, once in a server's life."""
        counts = self._access.counts
        if not counts.all.restore():
            return
        found = load(self._path, _decoded, "quotas of the day begin anew")
        if found is None or found[0] != rates.day_of(self._access.now()):
            return
        for name, (rows, cost) in found[1].items():
            if name in self._access.config.tenants:
                counts.used(self._access.slot(name), found[0], rows, cost / MICRO)

    def content(self) -> bytes:
        """What tenants have used today."""
        day, all_counts = rates.day_of(self._access.now()), self._access.counts.all
        used = {}
        for name in self._access.config.tenants:
            slot = self._access.slot(name)
            both = [all_counts.today(each, slot, day) for each in ("rows", "cost")]
            if any(both):
                used[name] = both
        return json.dumps({"day": day, "tenants": used}).encode()

    def save(self) -> None:
        """Write it down; it waits for the disk. What cannot be written is reported."""
        try:
            save(self._path, self.content())
        except OSError as exc:
            log.error("%s cannot be written: %s", self._path, exc.strerror)

    def start(self) -> None:
        """Write it down from time to time, in the running event loop."""
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Write it down a last time."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await asyncio.to_thread(self.save)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await asyncio.to_thread(self.save)


def _decoded(content: bytes) -> tuple[int, dict[str, tuple[int, int]]]:
    found = json.loads(content)
    used = {str(name): (int(rows), int(cost)) for name, (rows, cost) in found["tenants"].items()}
    if any(min(both) < 0 or max(both) >= 2**62 for both in used.values()):
        raise ValueError("what was used is no number that can be")
    return int(found["day"]), used
