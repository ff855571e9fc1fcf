"""Keeps access control up to date: reloads the changed file, and refreshes issuers' keys."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from cascade_server.access.access import Access
from cascade_server.access.grants import AccessConfig
from cascade_server.errors import ConfigError

log = logging.getLogger("cascade.access")

# Seconds between looks at the file.
SECONDS = 1.0

Seen = tuple[int, ...]


class Changes:
    """Decides when to reload a changed file; no I/O.

    During a write the file is incomplete, and may then look like a valid file with fewer tenants.
    So a changed file is read only after it has stayed the same from one look to the next.

    Args:
        seen: the state of the file at first; None: it does not exist. The file may have changed
            since it was read, so it is read once more.
    """

    def __init__(self, seen: Seen | None) -> None:
        self._seen = seen
        self._judged: Seen | None = None if seen is None else (-1,)

    def look(self, now: Seen | None, at_once: bool = False) -> bool:
        """Take another look; return whether to read the file.

        Args:
            now: the current state of the file.
            at_once: whether the file is known to be ready.
        """
        is_same, self._seen = now == self._seen, now
        if at_once or (is_same and now != self._judged):
            self._judged = now
            return True
        return False


def _look(path: Path) -> Seen | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # The change time is included: permissions change without a write.
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns


class Watch:
    """Keeps a process's `Access` up to date.

    Args:
        access: the access control.
        seconds: time between looks at its file and at the files of issuers' keys.
        also: called at the same interval.
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
        self._changes = Changes(_look(access.path))
        # Changes of the files with issuers' keys.
        self._of_keys: dict[Path, Changes] = {}

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._fetch())]

    async def stop(self) -> None:
        """Stop, and drop running fetches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def look_now(self) -> None:
        """Reload the file and fetch issuers' keys, even if no file seems to have changed."""
        self._now.set()

    async def _watch(self) -> None:
        while True:
            # `wait_for` would lose a cancellation that arrives as it wakes up.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._now.wait()
            is_asked = self._now.is_set()
            self._now.clear()
            try:
                self._also()
                await self._follow(is_asked)
            except Exception:
                # If this loop ended, a tenant removed from the file would keep its access forever.
                log.exception("%s could not be looked after", self._access.path)

    async def _follow(self, is_asked: bool) -> None:
        loop = asyncio.get_running_loop()
        if self._changes.look(_look(self._access.path), is_asked):
            # Reading a file of a thousand tenants takes longer than a call may wait.
            self._access.take(await loop.run_in_executor(None, self._read))
        if self._access.issuers is not None:
            changed = self._changed_keys()
            if is_asked or changed:
                self._access.issuers.outdated(lambda each: is_asked or each.keys in changed)

    def _changed_keys(self) -> set[Path | None]:
        """Return the files with issuers' keys that have changed since the last look.

        A key removed from a file must stop working at once, not after an hour.
        """
        issuers = self._access.config.issuers.values()
        paths = {each.keys for each in issuers if each.keys is not None}
        seen = {path: _look(path) for path in paths}
        self._of_keys = {
            path: self._of_keys.get(path) or Changes(look) for path, look in seen.items()
        }
        return {path for path, look in seen.items() if self._of_keys[path].look(look)}

    def _read(self) -> AccessConfig | ConfigError:
        try:
            return self._access.file.now()
        except ConfigError as exc:
            return exc

    async def _fetch(self) -> None:
        """Fetch issuers' keys, once there are issuers."""
        while self._access.issuers is None:
            await asyncio.sleep(self._seconds)
        await self._access.issuers.keep()
