"""What is said of a fault, from the calls beside it; and a fault from end to end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.load.faults.judging import OK, Call, Found, recovery, seen, summary
from benchmarks.report.faults import faults_table
from tests.benchmarks.test_programs import benchmark
from tests.releases import TABLE, make_release


def calls(*bad: float, until: float = 10.0, every: float = 0.1, code: str = OK) -> list[Call]:
    """Calls that are due ten times a second, some of which (by when they were due) end late, or
    with a status."""
    out = []
    for number in range(round(until / every)):
        due = number * every
        is_bad = any(abs(due - each) < every / 2 for each in bad)
        out.append(Call(due, due + (0.5 if is_bad else 0.01), code if is_bad else OK))
    return out


class TestRecovery:
    """Until a whole window of calls was answered in time."""

    @pytest.mark.parametrize(
        ("bad", "expected"),
        [
            ((), 0.0),
            ((3.0, 3.1, 3.2), 0.3),
            ((3.5,), 0.6),
            ((3.0, 3.9), 1.0),
            # What happens a good second later is another fault's, or the machine's.
            ((3.0, 6.0), 0.1),
            ((1.0,), 0.0),
            ((9.5,), None),
        ],
    )
    def test_of_a_fault_at_three_seconds(self, bad: Sequence[float], expected: float) -> None:
        found = recovery(calls(*bad), fault=3.0)
        assert found is None if expected is None else found == pytest.approx(expected)

    def test_what_was_under_way_is_part_of_it(self) -> None:
        """It was due before the fault, and ended after it."""
        assert recovery(calls(2.9), fault=3.0) == 0.0
        assert seen(calls(2.9, code="UNAVAILABLE"), 3.0, 3.0).failed == {"UNAVAILABLE": 1}

    def test_of_what_lasts_it_counts_from_the_end(self) -> None:
        bad = [3.0 + number / 10 for number in range(22)]
        assert seen(calls(*bad), 3.0, 5.0).recovery_s == pytest.approx(0.2)


def test_what_callers_saw() -> None:
    found = seen(
        [
            Call(0.0, 0.01, OK),
            Call(1.0, 1.02, OK, ("UNAVAILABLE",)),
            Call(1.1, 1.4, OK),
            Call(1.2, 2.2, "DEADLINE_EXCEEDED"),
            *(Call(2 + number / 10, 2.01 + number / 10, OK) for number in range(20)),
        ],
        1.0,
        1.0,
    )
    assert (found.calls, found.late, found.longest_ms) == (23, 1, 300.0)
    assert (found.failed, found.retried) == ({"DEADLINE_EXCEEDED": 1}, {"UNAVAILABLE": 1})


def test_the_summary_counts_what_was_not_to_be() -> None:
    stood = Found("stopped", "stands still", seen(calls(3.0, code="DEADLINE_EXCEEDED"), 3.0, 3.0))
    died = Found("killed", "dies", seen(calls(3.0, 3.1, code="UNAVAILABLE"), 3.0, 3.0), {"a": True})
    away = Found("away", "is not here", skipped="there is none")
    found = summary([stood, died, away], {"stopped": ("DEADLINE_EXCEEDED",)})
    assert (found["lost"], found["all_kept"]) == (2, True)
    assert found["worst_recovery_s"] == pytest.approx(0.2)
    assert found["skipped"] == {"away": "there is none"}


def test_the_table(tmp_path: Path) -> None:
    died = Found(
        "killed", "dies", seen(calls(3.0, code="UNAVAILABLE"), 3.0, 3.0), {"counts": False}
    )
    away = Found("away", "is not here", skipped="there is none")
    found = summary([died, away], {})
    (tmp_path / "faults.json").write_text(json.dumps(found))
    lines = faults_table("", tmp_path).splitlines()
    assert lines[2] == "| dies | 70 | 1 UNAVAILABLE | 0 | 0 | 10 | 0.10 | **not: counts** |"
    assert lines[3].endswith("| skipped: there is none |")
    assert faults_table("", tmp_path / "nothing") == ""


def test_a_fault_as_it_is_typed(tmp_path: Path) -> None:
    make_release(tmp_path)
    done = benchmark(
        "faults",
        *("--repository", str(tmp_path), "--table", TABLE, "--rate", "20"),
        *("--only", "worker-killed", "--in-time-ms", "10000", "--strict"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    (fault,) = found["faults"]
    assert fault["fault"] == "worker-killed"
    assert fault["seen"]["calls"] > 0
    assert fault["notes"]["process_away_s"] > 0
    refused = benchmark("faults", "--only", "nonsense")
    assert refused.returncode == 2
    assert "nonsense" in refused.stderr
