"""Publishes one snapshot a second, however many clients watch, and none while nobody does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cascade_server.page.looking import Look
from cascade_server.page.past import STEP
from cascade_server.terms import ServiceClass

T = TypeVar("T")
# Seconds between snapshots while somebody watches.
EVERY_SECONDS = 1.0
# Niceness of the thread that makes snapshots: calls have priority over the page.
NICENESS = 10


class Publisher:
    """Makes snapshots, and notifies the clients that watch.

    Args:
        make: returns what makes them; called in the thread that then uses it.
    """

    def __init__(self, make: Callable[[], Look]) -> None:
        self._make = make
        self._look: Look
        self._thread = ThreadPoolExecutor(1, "operations page", _step_back)
        self._watchers = 0
        self._more = asyncio.Event()
        self._wanted = asyncio.Event()
        self._building: asyncio.Task[bytes] | None = None
        self._latest, self._made = b"", float("-inf")
        self.number = 0
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start recording the past."""
        self._look = await self._in_thread(self._make)
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop making snapshots."""
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def snapshot(self) -> bytes:
        """Return the newest snapshot.

        If it is a second old, a new one is made, once for all callers.
        """
        if time.monotonic() - self._made < EVERY_SECONDS:
            return self._latest
        if self._building is None or self._building.done():
            self._building = asyncio.create_task(self._build())
        return await asyncio.shield(self._building)

    async def newest(self) -> tuple[int, bytes]:
        """Return the newest snapshot, as `snapshot`, and its number."""
        found = await self.snapshot()
        return self.number, found

    async def after(self, number: int) -> tuple[int, bytes]:
        """Wait for a snapshot other than `number`; the caller counts as watching."""
        self._watchers += 1
        self._wanted.set()
        try:
            while self.number == number:
                await self._more.wait()
            return self.number, self._latest
        finally:
            self._watchers -= 1

    async def past(self, table: str, service: ServiceClass) -> bytes:
        """Return the last hour of a table and class."""
        return await self._in_thread(lambda: self._look.packed_past(table, service))

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            if self._watchers:
                await self.snapshot()
                wait = EVERY_SECONDS
            else:
                await self._in_thread(self._look.remember)
                wait = STEP
            self._wanted.clear()
            left = began + wait - time.monotonic()
            if self._watchers:
                await asyncio.sleep(max(0.05, left))
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), max(0.05, left))

    async def _build(self) -> bytes:
        self._latest = await self._in_thread(self._look.packed)
        self._made = time.monotonic()
        self.number += 1
        more, self._more = self._more, asyncio.Event()
        more.set()
        return self._latest

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _step_back() -> None:
    """Lower this thread's priority; on Linux each thread has its own niceness."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
