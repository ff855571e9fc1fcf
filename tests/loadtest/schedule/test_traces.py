"""Traces of callers, written, read, and refused where they are none."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cascade_loadtest.errors import TraceError
from cascade_loadtest.schedule.recording import TraceRecorder
from cascade_loadtest.schedule.traces import TracedCall, read_trace, write_trace
from cascade_proto import synthesis_pb2 as pb

CALLS = [
    TracedCall(0.25, "credit", {"age": 25, "sex": None, "name": "Zoë\u2028"}, 16, 0.1),
    TracedCall(0.0, "adult", ["age", "education"], 1, None),
    TracedCall(0.5, "credit", {}, 1, 0.05),
]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_what_is_written_is_read_in_order(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"calls.{suffix}"
    write_trace(path, CALLS)
    assert read_trace(path) == [CALLS[1], CALLS[0], CALLS[2]]


def test_date_times_are_iso_8601(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    write_trace(path, [TracedCall(0, "t", {"at": datetime(2026, 1, 7, 12, 30)})])
    (found,) = read_trace(path)
    assert found.given == {"at": "2026-01-07T12:30:00"}


def test_the_least_that_a_line_may_say(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('\n{"at": 1, "table": "credit"}\n\n')
    assert read_trace(path) == [TracedCall(1.0, "credit", {})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", r"line 1 is \[1\]; allowed: an object with at"),
        ("{", r"line 1 is no JSON"),
        ('{"at": -1, "table": "t"}', r"line 1.at is -1; allowed: seconds, 0 or more"),
        ('{"at": NaN, "table": "t"}', r"line 1.at is nan; allowed"),
        ('{"at": true, "table": "t"}', r"line 1.at is True; allowed"),
        ('{"at": 0, "table": 5}', r"line 1.table is 5; allowed: a table's name"),
        ('{"at": 0, "table": "t", "given": [1]}', r"line 1.given is \[1\]; allowed: values by"),
        ('{"at": 0, "table": "t", "given": "x"}', r"line 1.given is 'x'; allowed"),
        ('{"at": 0, "table": "t", "draws": 0}', r"line 1.draws is 0; allowed: a whole number"),
        ('{"at": 0, "table": "t", "deadline": 0}', r"line 1.deadline is 0; allowed: seconds above"),
        ('{"at": 0, "table": "t", "row": {}}', r"line 1 has the unknown key 'row'; allowed: at,"),
        ('{"at": 0, "table": "t", "deadline": 1e6}', r"line 1.deadline is 1000000.0; allowed: sec"),
        (f'{{"at": {"9" * 400}, "table": "t"}}', r"line 1.at is 9+.*; allowed: seconds, 0 or more"),
        (f'{{"at": {"9" * 5000}, "table": "t"}}', r"line 1 is no JSON"),
        ("[" * 100_000, r"line 1 is no JSON"),
        ("", r"has no calls"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text(line)
    with pytest.raises(TraceError, match=rf"calls\.jsonl.*{message}"):
        read_trace(path)


@pytest.mark.parametrize("name", ["nowhere.jsonl", "nowhere.parquet"])
def test_one_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(TraceError, match=r"nowhere.*cannot be read"):
        read_trace(tmp_path / name)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(TraceError, match=r"calls\.parquet is no Parquet file"):
        read_trace(path)
    with pytest.raises(TraceError, match=r"its name ends in none of \.jsonl, \.parquet"):
        read_trace(tmp_path / "calls.csv")
    with pytest.raises(TraceError, match=r"names ending in \.jsonl, \.parquet"):
        write_trace(tmp_path / "calls.csv", CALLS)


class Times:
    """A clock that says what it is told, one after another."""

    def __init__(self, *times: float) -> None:
        self._times = list(times)

    def __call__(self) -> float:
        return self._times.pop(0)


def request(**columns: Any) -> pb.SynthesizeRequest:
    made = pb.SynthesizeRequest(table="credit", rows=pb.Rows(count=1), draws=4)
    for name, value in columns.items():
        column = made.rows.columns.add(name=name)
        if value is None:
            column.states = b"\1"
        elif value == "absent":
            column.states = b"\2"
        else:
            column.integers.values.append(value)
    return made


def recorded(path: Path, *, values: bool) -> list[TracedCall]:
    with TraceRecorder(path, values=values, clock=Times(100.0, 100.5)) as recorder:
        recorder.note(request(age=25, sex=None, amount="absent"), 0.05)
        # Before the file is closed: a recording may be cut off.
        assert len(path.read_text().splitlines()) == 1
        recorder.note(request(), None)
    return read_trace(path)


def test_a_recorder_keeps_names_alone(tmp_path: Path) -> None:
    """Values are about people: they are written by who asks for it."""
    first, second = recorded(tmp_path / "calls.jsonl", values=False)
    assert first == TracedCall(0.0, "credit", ["age", "sex"], 4, 0.05)
    assert second == TracedCall(0.5, "credit", {}, 4, None)


def test_or_values_where_they_are_wanted(tmp_path: Path) -> None:
    first, _ = recorded(tmp_path / "calls.jsonl", values=True)
    assert first.given == {"age": 25, "sex": None}


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    with TraceRecorder(path) as recorder:
        threads = [
            threading.Thread(target=lambda: [recorder.note(request(age=1), 1.0) for _ in range(50)])
            for _ in range(4)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 200


def test_a_recorder_writes_line_by_line(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"a name ending in \.jsonl"):
        TraceRecorder(tmp_path / "calls.parquet")
