"""Keeps what decides up to date: the file is read anew when it changes, issuers' keys in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from cascade_server.access.access import Access
from cascade_server.access.access_file import AccessConfig, load_access
from cascade_server.errors import ConfigError

# Between looks at the file.
SECONDS = 1.0

Seen = tuple[int, int, int]


class Watch:
    """Looks after a process's `Access`.

    Args:
        access: what is kept up to date.
        seconds: between looks at its file.
        also: is called as often.
    """

    def __init__(
        self,
        access: Access,
        seconds: float = SECONDS,
        also: Callable[[], None] = lambda: None,
    ) -> None:
        self._access, self._seconds, self._also = access, seconds, also
        self._tasks: list[asyncio.Task[None]] = []
        self._now = asyncio.Event()
        self._seen = self._look()

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._fetch())]

    async def stop(self) -> None:
        """End; what was being fetched is dropped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def look_now(self) -> None:
        """Read the file anew, whether or not it looks as it did."""
        self._seen = None
        self._now.set()

    def _look(self) -> Seen | None:
        try:
            found = self._access.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), self._seconds)
            is_asked = self._now.is_set()
            self._now.clear()
            self._also()
            seen = self._look()
            if seen == self._seen and not is_asked:
                continue
            self._seen = seen
            # A file of a thousand tenants takes longer to read than a call may wait.
            found = await loop.run_in_executor(None, self._read)
            self._access.take(found)

    def _read(self) -> AccessConfig | ConfigError:
        try:
            return load_access(self._access.path)
        except ConfigError as exc:
            return exc

    async def _fetch(self) -> None:
        """Fetch issuers' keys, from when there are issuers."""
        while self._access.issuers is None:
            await asyncio.sleep(self._seconds)
        await self._access.issuers.keep()
