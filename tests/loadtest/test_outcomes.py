"""What callers were given, kept call by call."""

from __future__ import annotations

import json
import math

import pytest
from cascade_loadtest.outcomes import Calls, Recorder, together

from tests.loadtest.answers import answers


def test_what_is_written_is_read_again() -> None:
    recorder = Recorder()
    recorder.note("late", 0.00125, "student")
    recorder.note("late", 0.03, failure="UNAVAILABLE")
    recorder.note("history", 0.002, "teacher")
    recorder.note_refused("huge", "RESOURCE_EXHAUSTED")
    found = json.loads(json.dumps(recorder.as_json()))
    late = Calls.from_json(found["calls"]["late"])
    assert (late.count, late.answered) == (2, 1)
    assert late.quantile(0.5) == pytest.approx(1.25, rel=1e-3)
    assert (late.failures, late.tiers) == ({"UNAVAILABLE": 1}, {"student": 1})
    huge = Calls.from_json(found["calls"]["huge"])
    assert (huge.count, huge.refused) == (0, {"RESOURCE_EXHAUSTED": 1})
    assert 0 < found["began"] <= found["ended"]


def test_a_process_that_asked_nothing() -> None:
    assert Recorder().as_json() == {"began": 0.0, "ended": 0.0, "calls": {}}


def test_quantiles_are_of_all_calls() -> None:
    calls = answers(3.0, 1.0, 2.0)
    assert [calls.quantile(q) for q in (0.01, 0.5, 1.0)] == pytest.approx([1, 2, 3], rel=1e-3)
    calls.failures["Overloaded"] = 1
    assert calls.quantile(0.75) == pytest.approx(3.0, rel=1e-3)
    assert calls.quantile(0.76) == math.inf
    assert Calls().quantile(0.5) == math.inf


def test_what_workers_report_adds_up() -> None:
    """A master has all calls of all workers, each once, however often they report."""
    master, workers = Recorder(), [Recorder(), Recorder()]
    for turn in range(3):
        for number, worker in enumerate(workers):
            for _ in range(turn + number):
                worker.note("late", 0.001 * (1 + turn), "student")
            master.add_json(json.loads(json.dumps(worker.take())))
    assert master.calls["late"].count == 3 + 6
    assert master.calls["late"].tiers == {"student": 9}
    assert workers[0].as_json()["calls"] == {}
    assert 0 < master.began <= master.ended


def test_together_leaves_its_parts_alone() -> None:
    parts = {"a": answers(1.0), "b": answers(2.0, 3.0, failures=1)}
    assert together(parts).count == 4
    assert parts["a"].count == 1
