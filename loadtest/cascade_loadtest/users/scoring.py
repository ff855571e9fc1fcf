"""The fraud-scoring service: a transaction every 20 ms, some of whose features are late."""

from __future__ import annotations

import random

from cascade_client import Client, Provenance
from locust import User, constant_pacing, task

from cascade_loadtest.bundled import TARGETS, bundled_rows
from cascade_loadtest.scoring import (
    FEATURES_LATE,
    NO_HISTORY,
    SEVERAL_DRAWS,
    Situation,
    Transactions,
)
from cascade_loadtest.users.recording import call, is_ready
from cascade_loadtest.users.tables import table_of, target_of


class FraudScoring(User):
    """An instance of a fraud-scoring service.

    Each instance has a client of its own, which is a connection, as a process of such a service
    has. A transaction that is not answered in its deadline is scored without the missing features:
    to Locust it has failed.
    """

    host = "127.0.0.1:8470"
    wait_time = constant_pacing(0.02)

    def on_start(self) -> None:
        self._table = table_of(self)
        rows, target = bundled_rows(self._table), TARGETS[self._table]
        self._transactions = Transactions(rows, target, random.Random())
        self._client = Client(target_of(self))
        self._client.wait_ready(30)
        # What the table looks like is known before the first transaction comes.
        self._client.describe(self._table, timeout=10)
        is_ready(self.environment)

    def on_stop(self) -> None:
        self._client.close()

    @task(FEATURES_LATE.weight)
    def features_late(self) -> None:
        """An enrichment timed out."""
        self._score(FEATURES_LATE)

    @task(NO_HISTORY.weight)
    def no_history(self) -> None:
        """A merchant that nothing is known of yet."""
        self._score(NO_HISTORY)

    @task(SEVERAL_DRAWS.weight)
    def several_draws(self) -> None:
        """An amount that is worth a second look."""
        self._score(SEVERAL_DRAWS)

    def _score(self, situation: Situation) -> None:
        asked = self._transactions.next(situation)
        with call(self, "synthesize", f"scoring: {situation.name}") as outcome:
            answer = self._client.synthesize(
                self._table,
                asked.known,
                draws=situation.draws,
                columns=asked.late,
                timeout=situation.deadline,
            )
            outcome.tier = source(answer.provenance)


def source(provenance: Provenance) -> str:
    """Who gave an answer: "pool", "cache", or the tier that drew it."""
    if provenance.from_pool:
        return "pool"
    return "cache" if provenance.cached else str(provenance.tier)
