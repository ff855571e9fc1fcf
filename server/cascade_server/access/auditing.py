"""Writes access decisions to the audit log: a sample of refusals, and all changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cascade_jobs.audit.log import AuditLog
from cascade_jobs.errors import AuditRefused

from cascade_server.access.deciding import Refused
from cascade_server.access.grants import Caller, Reason
from cascade_server.errors import NotReady

log = logging.getLogger("cascade.access")

# Of similar refusals, one in this many seconds is logged, with the number since the last.
SPACING = 60.0
# Entries that may wait for the disk; beyond it, refusals are only counted.
MOST_WAITING = 100


class Refusals:
    """Decides which refusals to log; no I/O."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, Reason], float] = {}
        self._unwritten: dict[tuple[str, Reason], int] = {}

    def entry(
        self, refused: Refused, path: str, address: str, now: float
    ) -> Mapping[str, Any] | None:
        """Return the log entry of a refusal; None: do not log it now.

        Args:
            refused: the refusal.
            path: the method's path.
            address: the caller's address.
            now: monotonic seconds.
        """
        key = refused.tenant, refused.reason
        if now - self._last.get(key, -SPACING) < SPACING:
            self._unwritten[key] = self._unwritten.get(key, 0) + 1
            return None
        self._last[key] = now
        return {
            "event": "access refused",
            "tenant": refused.tenant,
            "call": path,
            "address": address,
            "allowed": False,
            "reasons": [refused.message],
            "unwritten": self._unwritten.pop(key, 0),
        }


class Auditor:
    """Writes to the log in its own thread, because each entry waits for the disk.

    Args:
        audit: the audit log.
        clock: monotonic seconds.
    """

    def __init__(self, audit: AuditLog, clock: Callable[[], float]) -> None:
        self._audit, self._clock = audit, clock
        self._thread = ThreadPoolExecutor(1, "access-audit")
        self._refusals, self._waiting = Refusals(), 0

    def close(self) -> None:
        """Write waiting entries, and stop the thread."""
        self._thread.shutdown(wait=True)

    def refused(self, refused: Refused, path: str, address: str) -> None:
        """Log a refused call; called in the event loop."""
        if self._waiting >= MOST_WAITING:
            return
        entry = self._refusals.entry(refused, path, address, self._clock())
        if entry is not None:
            self._waiting += 1
            self._thread.submit(self._write_quietly, entry)

    def _write_quietly(self, entry: Mapping[str, Any]) -> None:
        try:
            self._audit.append(entry)
        except (OSError, AuditRefused) as exc:
            log.error("a refusal is not in the audit log: %s", exc)
        finally:
            self._waiting -= 1

    async def control(self, caller: Caller, what: str, given: Mapping[str, Any]) -> None:
        """Log a change to releases before it is made; the entry is on disk when this returns.

        Raises:
            NotReady: the entry cannot be written, so the change must not be made.
        """
        entry = {
            "event": "release control",
            "tenant": caller.tenant,
            "credential": caller.credential,
            "call": what,
            "allowed": True,
            **{name: value for name, value in given.items() if name in ("table", "version")},
        }
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._audit.append, entry)
        except (OSError, AuditRefused) as exc:
            raise NotReady(
                f"the audit log cannot be written, and so nothing is done: {exc}"
            ) from exc
