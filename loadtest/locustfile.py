"""Locust users: callers of a server as they come, by the SDK.

    locust -f loadtest/locustfile.py --host 127.0.0.1:8470                    its page, on :8089
    locust -f loadtest/locustfile.py --host 127.0.0.1:8470 --headless -u 8 -t 30s

`make loadtest` starts the default server, runs these users without the page, and judges what they
were given against `loadtest/sla.yaml`.
"""

from __future__ import annotations

import json
import random
import time
from argparse import ArgumentParser
from functools import cache
from pathlib import Path
from typing import Any

import gevent
import grpc.experimental.gevent
from cascade_client import CascadeError, Client
from cascade_loadtest.outcomes import Recorder
from cascade_loadtest.scoring import (
    FEATURES_LATE,
    NO_HISTORY,
    SEVERAL_DRAWS,
    Situation,
    Transactions,
)
from cascade_tables import read_table
from locust import User, constant_pacing, events, task
from locust.env import Environment

# Before any channel is made: else a call holds up every other user of this process.
grpc.experimental.gevent.init_gevent()

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# The bundled tables, and what a service would predict from them.
TARGETS = {"adult": "income", "credit": "default_payment_next_month"}
recorder = Recorder()


@events.init_command_line_parser.add_listener
def _options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--table",
        choices=sorted(TARGETS),
        default="credit",
        env_var="LOADTEST_TABLE",
        help="The bundled table whose rows are scored",
    )
    parser.add_argument(
        "--load-seconds",
        type=float,
        default=0.0,
        help="End so long after the first user is ready to ask, however long that took; 0: never",
    )
    parser.add_argument(
        "--outcomes",
        default="",
        include_in_web_ui=False,
        help="Write what every call was given there, as JSON, for `make loadtest` to judge",
    )


@cache
def rows(table: str) -> list[dict[str, Any]]:
    """Of a bundled table: those that its release has learnt, for it refuses what is beyond."""
    return read_table(EXAMPLES / table / "train.parquet").to_rows()


@events.init.add_listener
def _read_rows(environment: Environment, **_: Any) -> None:
    # Before there are users: they would all wait for it.
    if environment.parsed_options is not None:
        rows(environment.parsed_options.table)


@cache
def _end_after(environment: Environment, seconds: float) -> None:
    """Once, by the first user that is ready."""
    if seconds > 0 and environment.runner is not None:
        gevent.spawn_later(seconds, environment.runner.quit)


@events.quitting.add_listener
def _write_outcomes(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if options is not None and options.outcomes:
        Path(options.outcomes).write_text(json.dumps(recorder.as_json()))


class FraudScoring(User):
    """An instance of a fraud-scoring service: a transaction every 20 ms, some features late.

    Each instance has a client of its own, which is a connection, as a process of such a service
    has. A transaction that is not answered in its deadline is scored without the missing features:
    to Locust it has failed.
    """

    host = "127.0.0.1:8470"
    wait_time = constant_pacing(0.02)

    def on_start(self) -> None:
        options = self.environment.parsed_options
        self._table = options.table if options is not None else "credit"
        target_column = TARGETS[self._table]
        self._transactions = Transactions(rows(self._table), target_column, random.Random())
        target = (self.host or "").removeprefix("http://").rstrip("/")
        self._client = Client(target)
        self._client.wait_ready(30)
        # What the table looks like is known before the first transaction comes.
        self._client.describe(self._table, timeout=10)
        if options is not None:
            _end_after(self.environment, options.load_seconds)

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
        began, failure, tier = time.perf_counter(), None, None
        try:
            answer = self._client.synthesize(
                self._table,
                asked.known,
                draws=situation.draws,
                columns=asked.late,
                timeout=situation.deadline,
            )
            tier = str(answer.provenance.tier)
        except CascadeError as exc:
            failure = exc
        milliseconds = 1e3 * (time.perf_counter() - began)
        recorder.note(situation.name, milliseconds, tier, failure)
        self.environment.events.request.fire(
            request_type="synthesize",
            name=situation.name,
            response_time=milliseconds,
            response_length=0,
            exception=failure,
            context={"table": self._table, "tier": tier},
        )
