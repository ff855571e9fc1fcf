"""Decisions about who may ask, written to the audit log: refusals now and then, control always."""

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

# Of refusals alike, the first in so many seconds is written down, with how many there were before.
SPACING = 60.0
# Entries that wait for the disk; beyond it refusals are counted and no more.
MOST_WAITING = 100


class Refusals:
    """Which refusals are worth an entry; a decision, with no I/O."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, Reason], float] = {}
        self._unwritten: dict[tuple[str, Reason], int] = {}

    def entry(
        self, refused: Refused, path: str, address: str, now: float
    ) -> Mapping[str, Any] | None:
        """What is to be written of a refusal; None: nothing now.

        Args:
            refused: why.
            path: of the method.
            address: of the caller.
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
    """Writes to the log in a thread of its own, for each entry waits for the disk.

    Args:
        audit: the log.
        clock: monotonic seconds.
    """

    def __init__(self, audit: AuditLog, clock: Callable[[], float]) -> None:
        self._audit, self._clock = audit, clock
        self._thread = ThreadPoolExecutor(1, "access-audit")
        self._refusals, self._waiting = Refusals(), 0

    def close(self) -> None:
        """Write what waits, and let go of the thread."""
        self._thread.shutdown(wait=True)

    def refused(self, refused: Refused, path: str, address: str) -> None:
        """A call was refused; from the event loop."""
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
        """Somebody is about to change who answers; it is in the log when this returns.

        Raises:
            NotReady: it cannot be written down, so it is not to happen.
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
