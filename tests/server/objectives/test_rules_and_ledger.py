"""Prometheus, by our rules over our metrics, counts what the ledger counts of the same events."""

from __future__ import annotations

import json
import math
import operator
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_server.config import ServerConfig
from cascade_server.counts.calls import Call
from cascade_server.counts.metrics import Metrics
from cascade_server.counts.shared.books import Books
from cascade_server.counts.sla import Sla
from cascade_server.objectives.blame import OUT_OF_TIME
from cascade_server.objectives.objective import Kind, Objective, SloConfig
from cascade_server.objectives.prometheus_rules import rates
from cascade_server.terms import ServiceClass, Tier
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

REALTIME, FULL, OFFLINE = ServiceClass
OK = grpc.StatusCode.OK
CONFIG = SloConfig(
    objectives=(
        Objective("*", REALTIME, Kind.AVAILABILITY, 0.99),
        Objective("*", REALTIME, Kind.LATENCY, 0.9, threshold=0.0125),
        Objective("*", REALTIME, Kind.FIDELITY, 0.2, tier=Tier.TEACHER),
        Objective("credit", FULL, Kind.AVAILABILITY, 0.5),
        Objective("credit", FULL, Kind.FIDELITY, 0.5, tier=Tier.STUDENT),
        Objective("adult's", OFFLINE, Kind.AVAILABILITY, 0.9),
    )
)
TABLES = ["credit", "adult's"]
RATE = re.compile(r"sum\(rate\((\w+)\{(.*?)\}\[5m\]\)\)")
MATCHER = re.compile(r'(\w+)(=~|=)("(?:[^"\\]|\\.)*")')
ARITHMETIC = re.compile(r"\((\S+) ([-*]) (\S+)\)")


@dataclass
class Clock:
    """Tells a time that is set."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Prometheus:
    """What the server exposes, and as much of PromQL as the rules use of it.

    All counters began at 0, so what they have grown by is what they are.
    """

    def __init__(self, sla: Sla) -> None:
        metrics = Metrics(sla.ledger, sla.tables)
        text = generate_latest(metrics.registry).decode()
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, expression: str) -> float:
        """Of a sum of rates, or of two with a sign between them."""
        numbers = RATE.sub(lambda found: str(self._sum(found[1], found[2])), expression)
        if (found := ARITHMETIC.fullmatch(numbers)) is None:
            return float(numbers)
        sign = {"-": operator.sub, "*": operator.mul}[found[2]]
        result: float = sign(float(found[1]), float(found[3]))
        return result

    def _sum(self, name: str, matchers: str) -> float:
        wanted = [(m[1], m[2], json.loads(m[3])) for m in MATCHER.finditer(matchers)]
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name
            and all(
                re.fullmatch(value if how == "=~" else re.escape(value), sample.labels[label])
                for label, how, value in wanted
            )
        )


@pytest.fixture
def sla(tmp_path: Path) -> Sla:
    return Sla(ServerConfig(repository=tmp_path), books=Books(CONFIG, TABLES))


def events(sla: Sla, rng: random.Random, calls: int) -> None:
    """Calls of all kinds, as they end: answered, refused with and without having been read, with
    deadlines that no server could keep, and through faults of the callers."""
    clock = Clock()
    for _ in range(calls):
        service = OFFLINE if rng.random() < 0.2 else REALTIME
        call = Call(sla, sla.tables, service, clock)
        deadline = clock.now + rng.choice((math.inf, 0.1, 0.0, -1.0))
        unread = rng.random()
        if unread < 0.2:
            table = rng.choice((None, *TABLES, "nope"))
            call.announces(table, rng.choice((None, FULL)), deadline)
        elif unread < 0.9:
            service = rng.choice(list(ServiceClass))
            call.asks(rng.choice((*TABLES, "nope")), service, deadline, rng.choice((0, 1, 1000)))
            if rng.random() < 0.6:
                for _ in range(rng.choice((1, 3))):
                    call.sends(rng.choice(list(Tier)), rng.randint(1, 5))
                clock.now += rng.choice((0.0, 1.0))
                call.ends(OK)
                continue
        call.ends(rng.choice([*grpc.StatusCode][1:]) if rng.random() < 0.5 else OUT_OF_TIME[1])


def test_one_stream_of_events(sla: Sla) -> None:
    events(sla, random.Random(0), 3000)
    prometheus = Prometheus(sla)
    kinds: dict[Kind, list[Any]] = {kind: [] for kind in Kind}
    for status in sla.ledger.report().statuses:
        bad, total = (prometheus.value(each) for each in rates(status.objective, "5m"))
        found = status.events
        assert (total - bad, total) == (found.good, found.total), status.objective.name
        kinds[status.objective.kind].append(found)
    for of_kind in kinds.values():
        assert all(each.total > 20 for each in of_kind)
        assert any(0 < each.good < each.total for each in of_kind)


def test_every_call_is_good_or_the_servers_or_the_callers(sla: Sla) -> None:
    """Calls of tables that there are, and of none."""
    config = SloConfig()
    whole = Sla(sla._config, books=Books(config, TABLES))
    events(whole, random.Random(1), 3000)
    counted = sum(
        status.events.total
        for status in whole.ledger.report().statuses
        if status.objective.kind is Kind.AVAILABILITY
    )
    unknown = sum(
        number
        for key, number in zip(
            whole.ledger.book.calls.keys,
            whole.ledger.book.calls.durations.sum(axis=1).tolist(),
            strict=True,
        )
        if key[0] not in TABLES
    )
    callers = sum(calls for (table, *_), calls in whole.caller_faults().items() if table in TABLES)
    assert counted + callers + unknown == 3000
    # Unread and refused is in a budget, unless a table was named that is not there.
    assert 0 < unknown < 3000 * 0.4
