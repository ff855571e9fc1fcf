"""What tenants have used of a day, kept over a restart: to start anew gives nobody a new day."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from cascade_server.access import rates
from cascade_server.access.access import Access
from cascade_server.counts.shared.compute import ComputeCounts, added
from cascade_server.counts.shared.tenant_counts import MICRO
from cascade_server.state_folder import load, save

log = logging.getLogger("cascade.access")

# In a server's state folder.
NAME = "quotas.json"


class CostMeter:
    """Charges tenants what was computed for them, by prices, to their quotas of cost.

    It looks at what is metered already, now and then, so that no call waits for it; a tenant may
    spend more than its quota by what it computes between two looks.

    Args:
        access: of the process.
        compute: where what is charged here is counted: by this process alone, or by others of
            whom no other process charges what they compute.
        price: of seconds of a processor and of a GPU.
    """

    def __init__(
        self,
        access: Access,
        compute: Sequence[ComputeCounts],
        price: Callable[[float, float], float],
    ) -> None:
        self._access, self._compute, self._price = access, compute, price
        self._before = self._costs()

    def _costs(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for key, used in added(self._compute).items():
            if key.tenant:
                cost = self._price(used.seconds, used.gpu_seconds)
                found[key.tenant] = found.get(key.tenant, 0.0) + cost
        return found

    def look(self) -> None:
        """Charge what was computed since the last look."""
        holding = self._access.holding
        tenants = holding.config.tenants
        if not any(each.grant.cost_a_day is not None for each in tenants.values()):
            return
        now, before = self._costs(), self._before
        day = rates.day_of(self._access.now())
        for name, cost in now.items():
            spent = cost - before.get(name, 0.0)
            if spent > 0 and name in tenants:
                self._access.counts.used(holding.slots[name], day, 0, spent)
        self._before = now


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
        # Of two who write at once one would take the other's half-written file for its own: the
        # last time begins while a thread may still be at the one before.
        self._alone = threading.Lock()

    def restore(self) -> None:
        """Go on from what was written today, once in a server's life."""
        counts = self._access.counts
        if not counts.all.restore():
            return
        found = load(self._path, _decoded, "quotas of the day begin anew")
        if found is None or found[0] != rates.day_of(self._access.now()):
            return
        slots = self._access.holding.slots
        for name, (rows, cost) in found[1].items():
            if name in slots:
                counts.used(slots[name], found[0], rows, cost / MICRO)

    def content(self) -> bytes:
        """What tenants have used today."""
        day, all_counts = rates.day_of(self._access.now()), self._access.counts.all
        used = {}
        for name, slot in self._access.holding.slots.items():
            both = [all_counts.today(each, slot, day) for each in ("rows", "cost")]
            if any(both):
                used[name] = both
        return json.dumps({"day": day, "tenants": used}).encode()

    def save(self) -> None:
        """Write it down; it waits for the disk. What cannot be written is reported."""
        try:
            with self._alone:
                save(self._path, self.content())
        except OSError as exc:
            log.error("%s cannot be written: %s", self._path, exc.strerror)
        except Exception:
            # Not a list of kinds: once nobody writes, a restart gives every tenant a new day.
            log.exception("%s cannot be written", self._path)

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
