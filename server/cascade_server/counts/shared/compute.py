"""Counts of computation, in memory that all processes see.

They are processor seconds, answers, rows and tokens by table, tier and tenant.

A process that is killed loses no counts, since they are not in its own memory.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from itertools import product
from typing import NamedTuple

import numpy as np

from cascade_server.memory import Memory, Note


class UsageTier(StrEnum):
    """What processor time was used for.

    A row of the pool is computed before any request (`REFILL`), and costs little when a request
    takes it (`POOL`); a bill's "pool" is the sum of both. Likewise, its "teacher" is the sum of
    single answers (`TEACHER`) and of large batches (`GENERATE`).
    """

    POOL = "pool"
    REFILL = "refill"
    CACHE = "cache"
    STUDENT = "student"
    TEACHER = "teacher"
    GENERATE = "generate"
    JOB = "job"


# Tenants that are counted separately; later ones are counted together.
MOST_TENANTS = 64
OTHER_TENANTS = "(other)"
# Bytes of a tenant's name, and of all names as JSON, in which a character may take six bytes.
LONGEST_NAME = 128
NAMES = 8 * LONGEST_NAME * MOST_TENANTS
# Keys whose places are cached; names come from outside, so the cache is bounded.
MOST_PLACES = 4096
# Tables that are no longer served.
OTHER_TABLES = "(other)"


class UsageKey(NamedTuple):
    """Whose usage it is: table, tier and tenant ("" if tenants are not told apart)."""

    table: str
    tier: UsageTier
    tenant: str = ""


class Used(NamedTuple):
    """Amounts that were used.

    Attributes:
        seconds, gpu_seconds: seconds of one processor, and of one GPU.
        answers, rows, tokens: the results; tokens are the values that were not given.
    """

    seconds: float = 0.0
    gpu_seconds: float = 0.0
    answers: int = 0
    rows: int = 0
    tokens: int = 0

    def plus(self, other: Used) -> Used:
        """Return the sum of two amounts."""
        return Used(
            self.seconds + other.seconds,
            self.gpu_seconds + other.gpu_seconds,
            self.answers + other.answers,
            self.rows + other.rows,
            self.tokens + other.tokens,
        )


TIMES, COUNTED = 2, len(Used._fields) - 2


class ComputeCounts:
    """What one process has computed, and for whom.

    Args:
        tables: the served tables.
        memory: holds the counts; one process counts, any process may read.
    """

    def __init__(self, tables: Collection[str], memory: Memory) -> None:
        keys = list(product([*sorted(tables), OTHER_TABLES], UsageTier))
        self._keys = keys
        self._first = {key: MOST_TENANTS * number for number, key in enumerate(keys)}
        places = MOST_TENANTS * len(keys)
        self.seconds = memory.floats(places * TIMES)
        self.counts = memory.integers(places * COUNTED)
        # Adding to an element of a memoryview takes a third of NumPy's time.
        self._seconds = self.seconds.data.cast("B").cast("d")
        self._counts = self.counts.data
        self._names = Note(memory, NAMES)
        self._tenants = {"": 0}
        # Places of keys that were counted, so that the next answer for a key takes one look-up.
        self._places: dict[UsageKey, int] = {}

    def add(self, key: UsageKey, used: Used) -> None:
        """Count usage; tables that are not served count as `OTHER_TABLES`."""
        place = self._places.get(key)
        if place is None:
            place = self._place_of(key)
        seconds, gpu_seconds, answers, rows, tokens = used
        self._seconds[TIMES * place] += seconds
        if gpu_seconds:
            self._seconds[TIMES * place + 1] += gpu_seconds
        counts, place = self._counts, COUNTED * place
        counts[place] += answers
        counts[place + 1] += rows
        counts[place + 2] += tokens

    def _place_of(self, key: UsageKey) -> int:
        first = self._first.get((key.table, key.tier))
        if first is None:
            first = self._first[OTHER_TABLES, key.tier]
        tenant = self._tenants.get(key.tenant)
        place = first + (self._placed(key.tenant) if tenant is None else tenant)
        if len(self._places) < MOST_PLACES:
            self._places[key] = place
        return place

    def _placed(self, tenant: str) -> int:
        """Return the place of a tenant that this process has not met yet."""
        # An earlier process in this place may have met it.
        self._tenants = {name: place for place, name in enumerate(self._named())}
        name = tenant.encode()[:LONGEST_NAME].decode(errors="ignore")
        if name not in self._tenants:
            if len(self._tenants) >= MOST_TENANTS:
                name = OTHER_TENANTS
            else:
                last = len(self._tenants) == MOST_TENANTS - 1
                name = OTHER_TENANTS if last else name
                self._tenants[name] = len(self._tenants)
                self._names.write(json.dumps([*self._tenants]).encode())
        place = self._tenants[name]
        if len(tenant) <= LONGEST_NAME and name != OTHER_TENANTS:
            self._tenants[tenant] = place
        return place

    def _named(self) -> list[str]:
        content = self._names.read()[0]
        return json.loads(content) if content else [""]

    def used(self) -> Iterator[tuple[UsageKey, Used]]:
        """Yield all usage."""
        names = self._named()
        seconds = self.seconds.reshape(len(self._keys), MOST_TENANTS, TIMES)
        counts = self.counts.reshape(len(self._keys), MOST_TENANTS, COUNTED)
        found = np.argwhere(seconds.any(axis=2) | counts.any(axis=2)).tolist()
        for number, place in found:
            table, tier = self._keys[number]
            # A name is written before its first count.
            tenant = names[place] if place < len(names) else OTHER_TENANTS
            used = Used(*seconds[number, place].tolist(), *counts[number, place].tolist())
            yield UsageKey(table, tier, tenant), used


def added(parts: Collection[ComputeCounts]) -> Mapping[UsageKey, Used]:
    """Sum up the usage of several processes."""
    found: dict[UsageKey, Used] = {}
    for part in parts:
        for key, used in part.used():
            found[key] = found.get(key, Used()).plus(used)
    return dict(sorted(found.items()))
