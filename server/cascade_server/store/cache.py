"""A cache of answers to requests with a seed: equal requests have equal rows, so one draw will do.

The key contains everything that the answer depends on: the release, the known values of each row,
the requested columns, the draws, the seed, and the tier that draws and its passes. The requested
fidelity and the deadline are not in it: they decide which tier draws, and the tier is in the key.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from cascade_tables import ABSENT

from cascade_server.cascade.request import CheckedRequest
from cascade_server.config import ServerConfig
from cascade_server.errors import DeadlinePassed
from cascade_server.terms import Tier

# Part of every key: raise it when equal requests no longer give the same rows as before.
DEFINITION = 3
# Bytes of an entry besides its content.
ENTRY_OVERHEAD = 300
TOO_LATE = "the deadline passed while an equal request was drawn"
# The largest share of the cache for one entry.
LARGEST_SHARE = 0.125


class Keys:
    """The keys of a request's possible answers: one for each way to draw it.

    A key is 32 bytes, the same in every process. Columns are in the order of their names, and a
    column that is absent from every row is left out, however the request was written.
    """

    def __init__(self, request: CheckedRequest) -> None:
        known = sorted(
            (name, values)
            for name, values in request.given.items()
            if any(value is not ABSENT for value in values)
        )
        canonical = (
            *(DEFINITION, request.runtime.identity),
            *(request.names, request.rows, request.draws, request.seed, request.first_row),
            *(request.log_likelihood, known),
        )
        # A float's repr is exact, and a string's is quoted: no two different requests share one.
        self._asked = hashlib.blake2b(repr(canonical).encode(), digest_size=32)

    def drawn_by(self, tier: Tier, steps: int) -> bytes:
        """Return the key of the answer that a tier draws in so many passes."""
        whole = self._asked.copy()
        whole.update(f"{tier}/{steps}".encode())
        return whole.digest()


@dataclass(frozen=True)
class CacheConfig:
    """How much to keep, and for how long.

    Attributes:
        max_bytes: bytes of answers and their keys.
        max_age: seconds that an answer is kept.
        most_rows: larger answers are not kept.
    """

    max_bytes: int
    max_age: float = ServerConfig.cache_age_seconds
    most_rows: int = 1024


class Cache:
    """Answers by key, which drops the least recently used first. The caller passes the time."""

    def __init__(self, config: CacheConfig) -> None:
        self.config = config
        self.bytes = self.evicted = 0
        self._entries: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> bytes | None:
        """Return the key's answer unless it is too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        content, made = entry
        if now - made > self.config.max_age:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return content

    def put(self, key: bytes, content: bytes, made: float) -> None:
        """Keep an answer made at `made`, unless it is too large."""
        size = _size(key, content)
        if size > LARGEST_SHARE * self.config.max_bytes:
            return
        if key in self._entries:
            self._drop(key)
        self._entries[key] = (content, made)
        self.bytes += size
        while self.bytes > self.config.max_bytes:
            self._drop(next(iter(self._entries)))
            self.evicted += 1

    def _drop(self, key: bytes) -> None:
        content, _ = self._entries.pop(key)
        self.bytes -= _size(key, content)


def _size(key: bytes, content: bytes) -> int:
    return len(key) + len(content) + ENTRY_OVERHEAD


class Made(NamedTuple):
    """The result of the first of several requests for a key.

    Attributes:
        content: content of the answer.
        is_stand_in: whether it is not the key's own answer, but the student's in place of a teacher
            that did not answer in time.
    """

    content: bytes
    is_stand_in: bool = False


class WaitedTooLong(DeadlinePassed):
    """The draw of an equal request took longer than the waiting request had time."""


class Flights:
    """Lets concurrent requests for one key wait for the first of them.

    Attributes:
        waiting: number of waiting requests.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._flights: dict[bytes, asyncio.Future[Made | None]] = {}

    def underway(self, key: bytes) -> bool:
        """Return whether a request is making the content of a key."""
        return key in self._flights

    async def once(
        self,
        key: bytes,
        make: Callable[[], Awaitable[Made]],
        remaining: Callable[[], float],
        takes_stand_in: bool = False,
    ) -> tuple[bytes, bool]:
        """Make a key's content once for concurrent requests; return it, and whether another did.

        If the first request fails, whether cancelled, refused or late, the next one makes the
        content: a failure of one request need not concern the others.

        Args:
            key: key of the content.
            make: makes the content; called in the task of the first request.
            remaining: returns the seconds until waiting becomes pointless.
            takes_stand_in: whether the request accepts a stand-in; otherwise it makes the key's own
                content.

        Raises:
            WaitedTooLong: another request's content came too late.
            Any error of `make`, in the request that called it.
        """
        while (flight := self._flights.get(key)) is not None:
            left = remaining()
            self.waiting += 1
            try:
                async with asyncio.timeout(None if left == float("inf") else left):
                    found = await asyncio.shield(flight)
            except TimeoutError:
                raise WaitedTooLong(TOO_LATE) from None
            finally:
                self.waiting -= 1
            if found is not None and (takes_stand_in or not found.is_stand_in):
                return found.content, True
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        made: Made | None = None
        try:
            made = await make()
        finally:
            del self._flights[key]
            flight.set_result(made)
        return made.content, False
