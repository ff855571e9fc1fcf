"""Tenants' usage of the day, persisted so that a restart does not reset quotas."""

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
    """Charges compute, at the prices, to tenants' cost quotas.

    It polls the existing metering, so that no call waits for it. A tenant may therefore exceed its
    quota by the compute between two polls.

    Args:
        access: the access control of the process.
        compute: the compute charged here: that of this process, and of processes that no other
            process charges for.
        price: prices of a second of a processor and of a GPU.
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
        """Charge the compute since the last call."""
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
    """Persists tenants' usage, in the one process that keeps a server's accounts.

    Args:
        folder: the server's state folder.
        access: the access control of the process.
        seconds: time between two writes.
    """

    def __init__(self, folder: Path, access: Access, seconds: float) -> None:
        self._path, self._access, self._seconds = folder / NAME, access, seconds
        self._task: asyncio.Task[None] | None = None
        # The final write may begin while a thread still does the previous one; without the lock
        # they would share a temporary file.
        self._alone = threading.Lock()

    def restore(self) -> None:
        """Restore the usage written today; called once in a server's life."""
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
        """Serialize the tenants' usage of today."""
        day, all_counts = rates.day_of(self._access.now()), self._access.counts.all
        used = {}
        for name, slot in self._access.holding.slots.items():
            both = [all_counts.today(each, slot, day) for each in ("rows", "cost")]
            if any(both):
                used[name] = both
        return json.dumps({"day": day, "tenants": used}).encode()

    def save(self) -> None:
        """Write the file, waiting for the disk; log a failure."""
        try:
            with self._alone:
                save(self._path, self.content())
        except OSError as exc:
            log.error("%s cannot be written: %s", self._path, exc.strerror)
        except Exception:
            # All exceptions: if writing stopped, a restart would reset every tenant's quota.
            log.exception("%s cannot be written", self._path)

    def start(self) -> None:
        """Write the file periodically, in the running event loop."""
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Write the file a last time."""
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
