"""One snapshot a second, however many watch; none while nobody does."""

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
# Of the thread that looks: who is answered does not wait for who is watched.
NICENESS = 10


class Publisher:
    """Has snapshots made, and lets those who watch know.

    Args:
        make: gives what makes them; called in the thread that then looks.
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
        """Begin to remember what happens."""
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
        """The newest; one that is a second old is made anew, once for all who ask meanwhile."""
        if time.monotonic() - self._made < EVERY_SECONDS:
            return self._latest
        if self._building is None or self._building.done():
            self._building = asyncio.create_task(self._build())
        return await asyncio.shield(self._building)

    async def newest(self) -> tuple[int, bytes]:
        """The newest, as `snapshot`, and its number."""
        found = await self.snapshot()
        return self.number, found

    async def after(self, number: int) -> tuple[int, bytes]:
        """The next snapshot that is not that one, as soon as there is one; who asks watches."""
        self._watchers += 1
        self._wanted.set()
        try:
            while self.number == number:
                await self._more.wait()
            return self.number, self._latest
        finally:
            self._watchers -= 1

    async def past(self, table: str, service: ServiceClass) -> bytes:
        """The last hour of a table and class."""
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
    """On Linux niceness is a thread's own."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
