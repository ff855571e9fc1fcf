"""Keeps what decides up to date: the file is read anew when it changes, issuers' keys in time."""

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

# Between looks at the file.
SECONDS = 1.0

Seen = tuple[int, ...]


class Changes:
    """Which changes of a file are worth reading it; a decision, with no I/O.

    Whoever looks while it is written finds a part of it, which may well be a file with fewer
    tenants. So what has changed is read once it has stayed the same from one look to the next.

    Args:
        seen: the file as it is at first; None: it is not there. It may have changed since it was
            read, and so it is to be read once more.
    """

    def __init__(self, seen: Seen | None) -> None:
        self._seen = seen
        self._judged: Seen | None = None if seen is None else (-1,)

    def look(self, now: Seen | None, at_once: bool = False) -> bool:
        """Whether to read it, after another look.

        Args:
            now: as it is.
            at_once: whether somebody has said that it is ready.
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
    # Who may read it changes without its being written.
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns


class Watch:
    """Looks after a process's `Access`.

    Args:
        access: what is kept up to date.
        seconds: between looks at its file, and at those of issuers' keys.
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
        self._changes = Changes(_look(access.path))
        # Of files with issuers' keys.
        self._of_keys: dict[Path, Changes] = {}

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._fetch())]

    async def stop(self) -> None:
        """End; what was being fetched is dropped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def look_now(self) -> None:
        """Read the file anew, and fetch issuers' keys, whether or not files look as they did."""
        self._now.set()

    async def _watch(self) -> None:
        while True:
            # `wait_for` would miss that it is to end at the moment at which it is woken.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._now.wait()
            is_asked = self._now.is_set()
            self._now.clear()
            try:
                self._also()
                await self._follow(is_asked)
            except Exception:
                # Once nobody watches, who is taken out of the file would be let in for ever.
                log.exception("%s could not be looked after", self._access.path)

    async def _follow(self, is_asked: bool) -> None:
        loop = asyncio.get_running_loop()
        if self._changes.look(_look(self._access.path), is_asked):
            # A file of a thousand tenants takes longer to read than a call may wait.
            self._access.take(await loop.run_in_executor(None, self._read))
        if self._access.issuers is not None:
            changed = self._changed_keys()
            if is_asked or changed:
                self._access.issuers.outdated(lambda each: is_asked or each.keys in changed)

    def _changed_keys(self) -> set[Path | None]:
        """Files with issuers' keys that are others than at the last look. Who takes a key out of
        one does not want its tokens let in until an hour is over."""
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
        """Fetch issuers' keys, from when there are issuers."""
        while self._access.issuers is None:
            await asyncio.sleep(self._seconds)
        await self._access.issuers.keep()
