"""What was computed for whom: processor seconds, answers, rows and tokens by table, tier and
tenant, in memory that all processes see.

A process that is killed takes nothing with it, for what it has counted is not its own.
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
    """For what processors were used.

    A row of the pool was computed before anybody asked (`REFILL`) and costs little when it is given
    out (`POOL`); what a bill calls the pool is both. So is the teacher what it answers one by one
    (`TEACHER`) and what it draws in large batches (`GENERATE`).
    """

    POOL = "pool"
    REFILL = "refill"
    CACHE = "cache"
    STUDENT = "student"
    TEACHER = "teacher"
    GENERATE = "generate"
    JOB = "job"


# Tenants that are told apart; those that come after them count together.
MOST_TENANTS = 64
OTHER_TENANTS = "(other)"
# Bytes of a tenant's name, and of all of them as JSON, where each character may take six.
LONGEST_NAME = 128
NAMES = 8 * LONGEST_NAME * MOST_TENANTS
# Keys whose places are remembered; names come from outside, and are not kept without bounds.
MOST_PLACES = 4096
# Of tables that were served once and are no more.
OTHER_TABLES = "(other)"


class UsageKey(NamedTuple):
    """Whose usage: a table's, of a tier, for a tenant ("": they are not told apart)."""

    table: str
    tier: UsageTier
    tenant: str = ""


class Used(NamedTuple):
    """What was used.

    Attributes:
        seconds, gpu_seconds: of one processor, and of one GPU.
        answers, rows, tokens: that came of it; tokens are the values that were not given.
    """

    seconds: float = 0.0
    gpu_seconds: float = 0.0
    answers: int = 0
    rows: int = 0
    tokens: int = 0

    def plus(self, other: Used) -> Used:
        """The sum of two counts."""
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
        tables: those that are served.
        memory: where the counts lie; one process counts, any may look.
    """

    def __init__(self, tables: Collection[str], memory: Memory) -> None:
        keys = list(product([*sorted(tables), OTHER_TABLES], UsageTier))
        self._keys = keys
        self._first = {key: MOST_TENANTS * number for number, key in enumerate(keys)}
        places = MOST_TENANTS * len(keys)
        self.seconds = memory.floats(places * TIMES)
        self.counts = memory.integers(places * COUNTED)
        # Adding to an element of a memoryview takes a third of what NumPy takes.
        self._seconds = self.seconds.data.cast("B").cast("d")
        self._counts = self.counts.data
        self._names = Note(memory, NAMES)
        self._tenants = {"": 0}
        # Of keys that were counted, so that the next answer for the same takes one look.
        self._places: dict[UsageKey, int] = {}

    def add(self, key: UsageKey, used: Used) -> None:
        """Count what was used; of a table that is not served, among those that were once."""
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
        """The place of a tenant that this process has not met."""
        # A process before this one may have met it.
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
        """All that was used at all."""
        names = self._named()
        seconds = self.seconds.reshape(len(self._keys), MOST_TENANTS, TIMES)
        counts = self.counts.reshape(len(self._keys), MOST_TENANTS, COUNTED)
        found = np.argwhere(seconds.any(axis=2) | counts.any(axis=2)).tolist()
        for number, place in found:
            table, tier = self._keys[number]
            # A name is written before the first count of it.
            tenant = names[place] if place < len(names) else OTHER_TENANTS
            used = Used(*seconds[number, place].tolist(), *counts[number, place].tolist())
            yield UsageKey(table, tier, tenant), used


def added(parts: Collection[ComputeCounts]) -> Mapping[UsageKey, Used]:
    """What all of them have used together."""
    found: dict[UsageKey, Used] = {}
    for part in parts:
        for key, used in part.used():
            found[key] = found.get(key, Used()).plus(used)
    return dict(sorted(found.items()))
