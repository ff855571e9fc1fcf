"""What a fraud-scoring service asks for: transactions of which some features are late.

Pure: rows in, transactions out, randomness injected. The generator and Locust's user send them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Situation:
    """A way in which features fail to arrive.

    Attributes:
        name: what `sla.yaml` calls it; of Locust's users, "scoring: " and this.
        weight: how often it happens, to the others.
        fewest, most: how many features are missing then.
        draws: answers a transaction.
        deadline: seconds that the service waits for them.
    """

    name: str
    weight: int
    fewest: int
    most: int
    draws: int
    deadline: float


# An enrichment or a device score times out: the service has some 50 ms until it has to decide.
FEATURES_LATE = Situation("features late", 16, fewest=1, most=3, draws=1, deadline=0.05)
# A new merchant has no history: most of what would be known of it is missing.
NO_HISTORY = Situation("no history", 3, fewest=8, most=12, draws=1, deadline=0.05)
# A large amount is scored over several draws, to see how much depends on what is missing.
SEVERAL_DRAWS = Situation("several draws", 1, fewest=1, most=3, draws=16, deadline=0.1)
SITUATIONS = (FEATURES_LATE, NO_HISTORY, SEVERAL_DRAWS)


@dataclass(frozen=True)
class Transaction:
    """What is known of one, and which features are late.

    Attributes:
        situation: why they are.
        known: the features that have come, by name.
        late: names of those that have not.
    """

    situation: Situation
    known: Mapping[str, Any]
    late: tuple[str, ...]


class Transactions:
    """An endless stream of transactions, made of the rows of a table.

    Args:
        rows: of a table, each with all of its features.
        target: the column that the service is there to predict, which nobody knows yet; None: the
            table has none.
        rng: which row, and which of its features are late.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], target: str | None, rng: random.Random
    ) -> None:
        self._rows, self._rng = rows, rng
        self._features = [name for name in rows[0] if name != target]

    def next(self, situation: Situation) -> Transaction:
        """A transaction; at least one of its features is always known."""
        row, names = self._rng.choice(self._rows), self._features
        most = min(situation.most, len(names) - 1)
        count = self._rng.randint(min(situation.fewest, most), most)
        late = set(self._rng.sample(names, count))
        known = {name: row[name] for name in names if name not in late}
        return Transaction(situation, known, tuple(name for name in names if name in late))
