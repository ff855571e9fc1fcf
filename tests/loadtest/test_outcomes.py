"""What callers were given, kept call by call."""

from __future__ import annotations

import json
import math

from cascade_loadtest.outcomes import Calls, Recorder


def test_what_is_written_is_read_again() -> None:
    recorder = Recorder()
    recorder.note("late", 1.25, "student", None)
    recorder.note("late", 30.0, None, ValueError("x"))
    recorder.note("history", 2.0, "teacher", None)
    found = json.loads(json.dumps(recorder.as_json()))
    late = Calls.from_json(found["calls"]["late"])
    assert (late.milliseconds, late.failures, late.tiers) == (
        [1.25],
        {"ValueError": 1},
        {"student": 1},
    )
    assert (late + Calls.from_json(found["calls"]["history"])).count == 3
    assert found["seconds"] >= 0


def test_a_process_that_asked_nothing() -> None:
    assert Recorder().as_json() == {"seconds": 0.0, "calls": {}}


def test_quantiles_are_of_all_calls() -> None:
    calls = Calls([3.0, 1.0, 2.0])
    assert [calls.quantile(q) for q in (0.01, 0.5, 1.0)] == [1.0, 2.0, 3.0]
    calls.failures["Overloaded"] = 1
    assert calls.quantile(0.75) == 3.0
    assert calls.quantile(0.76) == math.inf
    assert Calls().quantile(0.5) == math.inf
