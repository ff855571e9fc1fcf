"""Whose fault it is that a call was not answered."""

from __future__ import annotations

import math
from typing import Any

import grpc
import pytest
from cascade_server.objectives.blame import (
    BLAMED,
    OUT_OF_TIME,
    CallerFault,
    caller_fault,
    ending_of,
    why_hung_up,
)

OK, CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED
DEADLINE, FULL_UP = grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED
TOO_SHORT = CallerFault.DEADLINE_TOO_SHORT


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
def test_why_a_caller_hung_up(elapsed: float, remaining: float, code: grpc.StatusCode) -> None:
    assert why_hung_up(elapsed, remaining) is code


@pytest.mark.parametrize(
    ("given", "idle", "alone", "is_callers"),
    [
        (math.inf, 10.0, False, False),
        (0.009, 0.01, False, True),
        (0.01, 0.01, False, False),
        (0.015, 0.01, False, False),  # others may have been in its way
        (0.015, 0.01, True, True),
        (0.02, 0.01, True, False),  # the server has become slow
        (1e-6, 0.0, False, True),  # nothing is known, and nothing needs to be
        (0.001, 0.0, True, False),
        (-1.0, 0.0, False, True),
    ],
)
def test_too_little_time(given: float, idle: float, alone: bool, is_callers: bool) -> None:
    for code in OUT_OF_TIME:
        assert ending_of(code, given, idle, alone) is (TOO_SHORT if is_callers else code)


@pytest.mark.parametrize("code", [each for each in grpc.StatusCode if each not in OUT_OF_TIME])
def test_what_has_nothing_to_do_with_time_stays(code: grpc.StatusCode) -> None:
    assert ending_of(code, 0.0, 1.0, alone=True) is code


def test_every_ending_is_good_or_the_servers_or_the_callers() -> None:
    faults: dict[Any, Any] = {code: caller_fault(code) for code in grpc.StatusCode}
    assert [code for code, fault in faults.items() if fault is None] == [
        code for code in grpc.StatusCode if code is OK or code in BLAMED
    ]
    assert faults[CANCELLED] is CallerFault.HUNG_UP
    assert faults[grpc.StatusCode.NOT_FOUND] is CallerFault.BAD_REQUEST
    assert caller_fault(TOO_SHORT) is TOO_SHORT
