"""What is recorded of a call; time is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from cascade_server.counts.calls import UNKNOWN_TABLE, Call, why_hung_up
from cascade_server.terms import ServiceClass, Tier

OK, CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED
DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED
REALTIME, FULL, OFFLINE = ServiceClass


@dataclass
class Recorded:
    """Keeps what it is told, and tells the time."""

    now: float = 50.0
    outcomes: list[Any] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)

    def record(self, *outcome: Any) -> None:
        self.outcomes.append(outcome)

    def record_rows(self, *rows: Any) -> None:
        self.rows.append(rows)

    def clock(self) -> float:
        return self.now

    def call(self, service: ServiceClass = REALTIME) -> Call:
        return Call(self, {"credit"}, service, self.clock)


def test_an_answer() -> None:
    told = Recorded()
    call = told.call()
    call.asks("credit", FULL, math.inf)
    told.now += 0.25
    call.sends(Tier.TEACHER, 7)
    call.ends(OK)
    assert told.rows == [("credit", FULL, Tier.TEACHER, 7)]
    assert told.outcomes == [("credit", FULL, Tier.TEACHER, OK, 0.25)]


def test_the_time_a_stream_s_reader_takes_is_not_the_server_s() -> None:
    told = Recorded()
    call = told.call(OFFLINE)
    call.asks("credit", OFFLINE, math.inf)
    for _ in range(3):
        told.now += 0.5
        call.sends(Tier.TEACHER, 64)
        call.pause()
        told.now += 100
        call.resume()
    call.ends(OK)
    assert told.outcomes == [("credit", OFFLINE, Tier.TEACHER, OK, 1.5)]
    assert len(told.rows) == 3


def test_a_failure_has_no_tier() -> None:
    told = Recorded()
    call = told.call()
    call.asks("credit", REALTIME, math.inf)
    call.sends(Tier.TEACHER, 64)
    call.ends(grpc.StatusCode.INTERNAL)
    assert told.outcomes == [("credit", REALTIME, None, grpc.StatusCode.INTERNAL, 0.0)]


@pytest.mark.parametrize("table", ["", "nope", "credit\n"])
def test_a_table_that_is_not_there_has_one_name(table: str) -> None:
    told = Recorded()
    call = told.call()
    call.asks(table, REALTIME, math.inf)
    call.ends(grpc.StatusCode.NOT_FOUND)
    assert told.outcomes[0][0] == UNKNOWN_TABLE


def test_a_request_that_cannot_be_read() -> None:
    told = Recorded()
    told.call(OFFLINE).ends(grpc.StatusCode.INVALID_ARGUMENT)
    assert told.outcomes[0][:2] == (UNKNOWN_TABLE, OFFLINE)


class TestHangingUp:
    """gRPC cancels a handler both when the caller gives up and when its deadline passes."""

    @pytest.mark.parametrize(
        ("elapsed", "remaining", "code"),
        [
            (1.0, math.inf, CANCELLED),
            (1.0, 1.0, CANCELLED),
            (1.0, -0.001, DEADLINE),
            (0.047, 0.003, DEADLINE),  # a deadline of 50 ms, rounded up
            (0.02, 0.03, CANCELLED),
            (9.95, 0.05, DEADLINE),
            (9.0, 1.0, CANCELLED),
        ],
    )
    def test_why(self, elapsed: float, remaining: float, code: grpc.StatusCode) -> None:
        assert why_hung_up(elapsed, remaining) is code

    def test_is_recorded(self) -> None:
        told = Recorded()
        for passed in (0.3, 1.0):
            call = told.call()
            call.asks("credit", REALTIME, told.now + 1.0)
            told.now += passed
            call.hung_up()
        assert [outcome[3] for outcome in told.outcomes] == [CANCELLED, DEADLINE]
