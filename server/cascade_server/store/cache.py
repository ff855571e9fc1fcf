"""Answers to requests with a seed, kept: equal requests give equal rows, so one draw does for all.

The key is what the answer depends on: the release, what is known of each row, the columns asked
for, the draws, the seed, and the tier that draws, in how many passes. Not the fidelity that was
asked for, nor the deadline: these decide which tier draws, and that is part of the key.
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

# Part of every key: raise it when equal requests no longer give the rows they gave.
DEFINITION = 3
# Bytes that an entry takes beside its content.
ENTRY_OVERHEAD = 300
TOO_LATE = "the deadline passed while an equal request was drawn"
# No entry may take more than this share of the cache.
LARGEST_SHARE = 0.125


class Keys:
    """Names the answers that there may be to a request: one for each way to draw it.

    A key is 32 bytes, the same in every process. Columns are in the order of their names, and one
    that is absent from every row is not there at all, however the request was written.
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
        # A float's repr is exact, and a string's is quoted: no two requests share one.
        self._asked = hashlib.blake2b(repr(canonical).encode(), digest_size=32)

    def drawn_by(self, tier: Tier, steps: int) -> bytes:
        """The key of the answer that a tier draws in so many passes."""
        whole = self._asked.copy()
        whole.update(f"{tier}/{steps}".encode())
        return whole.digest()


@dataclass(frozen=True)
class CacheConfig:
    """How much is kept, and for how long.

    Attributes:
        max_bytes: of answers and their keys.
        max_age: seconds.
        most_rows: larger answers are not kept.
    """

    max_bytes: int
    max_age: float = ServerConfig.cache_age_seconds
    most_rows: int = 1024


class Cache:
    """Answers by key; the least recently used go first. Time is given."""

    def __init__(self, config: CacheConfig) -> None:
        self.config = config
        self.bytes = self.evicted = 0
        self._entries: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> bytes | None:
        """An answer that is not too old."""
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
        """Keep an answer that was made then, unless it is too large."""
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
    """What the first of those who ask for a key has made.

    Attributes:
        content: of the answer.
        is_stand_in: whether it is not the key's: the student's, in place of a teacher that did not
            answer in time.
    """

    content: bytes
    is_stand_in: bool = False


class WaitedTooLong(DeadlinePassed):
    """Another's draw took longer than who waits for it had time."""


class Flights:
    """Lets concurrent requests for one key wait for the first of them.

    Attributes:
        waiting: how many do.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._flights: dict[bytes, asyncio.Future[Made | None]] = {}

    def underway(self, key: bytes) -> bool:
        """Whether somebody makes what a key stands for."""
        return key in self._flights

    async def once(
        self,
        key: bytes,
        make: Callable[[], Awaitable[Made]],
        remaining: Callable[[], float],
        takes_stand_in: bool = False,
    ) -> tuple[bytes, bool]:
        """What the first of those who ask for a key makes; and whether that was another one.

        If the first fails, whether it was cancelled, refused or late, the next of the others makes
        it: what fails for one need not fail for all.

        Args:
            key: of the content.
            make: called in the first one's own task.
            remaining: seconds until there is no point in waiting.
            takes_stand_in: whether who asks is content with one; else it makes the key's own.

        Raises:
            WaitedTooLong: for another.
            Whatever `make` raises, to whom it was called for.
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
