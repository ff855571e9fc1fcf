"""Feature lookups that answer at once or not in time, as in a bad hour.

Which of them are late is decided by a random generator that is given, so that everything else can
be compared on the very same transactions.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

# What is not in the transaction itself but has to be asked for, by the service that knows it.
LOOKUPS: Mapping[str, tuple[str, ...]] = {
    "repayment status": ("pay_0", "pay_2"),
    "limit": ("limit_bal",),
    "bills": ("bill_amt1", "pay_amt1"),
}
LOOKED_UP = tuple(name for names in LOOKUPS.values() for name in names)


class FeatureStore:
    """Features by transaction.

    Args:
        rows: of transaction 0, 1, …
        late_share: how often each lookup does not answer in time, from 0 to 1.
        rng: decides which do not.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], late_share: float, rng: random.Random
    ) -> None:
        self._rows = rows
        self._late = [
            frozenset(lookup for lookup in LOOKUPS if rng.random() < late_share) for _ in rows
        ]

    def late(self, transaction: int) -> Collection[str]:
        """Names of the lookups that will not answer in time."""
        return self._late[transaction]

    def known(self, transaction: int) -> dict[str, Any]:
        """What is known of a transaction once its lookups have answered or timed out."""
        late = {name for lookup in self.late(transaction) for name in LOOKUPS[lookup]}
        return {name: value for name, value in self._rows[transaction].items() if name not in late}

    async def look_up(self, lookup: str, transaction: int) -> dict[str, Any]:
        """The features of one lookup; one that is late waits until it is cancelled."""
        if lookup in self.late(transaction):
            await asyncio.Event().wait()
        row = self._rows[transaction]
        return {name: row[name] for name in LOOKUPS[lookup]}
