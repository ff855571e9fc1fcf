"""What callers are promised: the file, and whether they were given it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cascade_loadtest.errors import PromiseError
from cascade_loadtest.outcomes import Calls
from cascade_loadtest.scoring import SITUATIONS
from cascade_loadtest.sla import (
    EVERY,
    REAL_TIME,
    AnyPromise,
    GeneratorPromise,
    JobPromise,
    Measured,
    MemoryPromise,
    Promise,
    Verdict,
    all_kept,
    judge,
    load,
    parse,
)
from cascade_loadtest.users.kinds import KINDS

from tests.loadtest.answers import answers

ROOT = Path(__file__).parents[2]
NAMES = ("features late", "no history")


def parsed(**promise: Any) -> tuple[Promise, ...]:
    return parse({"promises": [{"calls": "*", "answered": 0.9, **promise}]}, NAMES)


def judged(promise: AnyPromise, calls: dict[str, Calls], **found: Any) -> tuple[Verdict, ...]:
    return judge([promise], Measured(calls, **found))


class TestReading:
    """A file of promises is used as it is meant, or refused with the key and what is allowed."""

    def test_what_it_says(self) -> None:
        found = parsed(calls="no history", latency_ms={"p50": 10, "p99.9": 50}, least=5)
        assert found == (Promise("no history", {0.5: 10.0, 0.999: 50.0}, 0.9, 5),)

    def test_the_file_that_ships(self) -> None:
        """What is to be shown: 10 and 25 ms from when calls are due, and 2 % of memory."""
        names = [each.name for each in SITUATIONS]
        promises = load(ROOT / "loadtest" / "sla.yaml", [*names, *KINDS])
        real_time = next(each for each in promises if isinstance(each, Promise))
        assert real_time.calls == REAL_TIME
        assert real_time.latency_ms == {0.99: 10.0, 0.999: 25.0}
        assert MemoryPromise(0.02) in promises

    def test_what_is_not_of_calls(self) -> None:
        entries = [
            {"generator": {"dropped": 0.01, "lag_ms": {"p99": 5}}},
            {"job": {"rows_per_s": 10}},
            {"memory": {"growth": 0.02}},
        ]
        assert parse({"promises": entries}, NAMES) == (
            GeneratorPromise(0.01, {0.99: 5.0}),
            JobPromise(10.0),
            MemoryPromise(0.02),
        )

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"job": {}}, r"job promises nothing; allowed: rows_per_s"),
            ({"job": {"rows": 5}}, r"job has the unknown key 'rows'; allowed: rows_per_s"),
            ({"job": {"rows_per_s": 0}}, r"job.rows_per_s is 0; allowed: rows a second above 0"),
            ({"memory": {"growth": 2}}, r"memory.growth is 2; allowed: a share"),
            ({"memory": 5}, r"memory is 5; allowed: keys growth"),
            ({"generator": {"lag_ms": {"99": 1}}}, r"lag_ms has the unknown key '99'"),
            ({"job": {"rows_per_s": 1}, "calls": "*"}, r"unknown key 'calls'; allowed: job"),
            ({"generater": {}}, r"unknown key 'generater'.*Did you mean 'generator'\?"),
        ],
    )
    def test_what_is_wrong_with_these(self, entry: dict[str, Any], message: str) -> None:
        with pytest.raises(PromiseError, match=rf"promises\[0\].*{message}"):
            parse({"promises": [entry]}, NAMES)

    @pytest.mark.parametrize(
        ("promise", "message"),
        [
            ({"latency": {}}, r"unknown key 'latency'.*latency_ms.*Did you mean 'latency_ms'\?"),
            ({"calls": "no histroy"}, r"'no histroy'.*Did you mean 'no history'\?"),
            ({"calls": None}, r"calls is None; allowed: \*, real time, features late"),
            ({"answered": 99.9}, r"answered is 99.9; allowed: a share above 0, at most 1"),
            ({"answered": True}, r"answered is True; allowed"),
            ({"latency_ms": {"q99": 5}}, r"unknown key 'q99'; allowed: p and a percentage"),
            ({"latency_ms": {"p0": 5}}, r"unknown key 'p0'"),
            ({"latency_ms": {"p50": 0}}, r"latency_ms.p50 is 0; allowed: milliseconds above 0"),
            ({"latency_ms": {"p50": "5"}}, r"latency_ms.p50 is '5'"),
            ({"latency_ms": {"p50": float("inf")}}, r"latency_ms.p50 is inf"),
            ({"latency_ms": {"p50": 10**400}}, r"latency_ms.p50 is 1000"),
            ({"latency_ms": [5]}, r"latency_ms is \[5\]; allowed: \{p50"),
            ({"least": 0}, r"least is 0; allowed: calls, a whole number >= 1"),
            ({"answered": None}, r"promises nothing; allowed: latency_ms, answered, or both"),
        ],
    )
    def test_what_is_wrong_is_named(self, promise: dict[str, Any], message: str) -> None:
        with pytest.raises(PromiseError, match=rf"promises\[0\].*{message}"):
            parsed(**promise)

    @pytest.mark.parametrize("content", [None, [], 5, {"promise": []}, {"promises": {}}])
    def test_a_file_of_something_else(self, content: Any) -> None:
        with pytest.raises(PromiseError, match=r"allowed"):
            parse(content, NAMES)

    @pytest.mark.parametrize(
        "content",
        [
            b"promises: [",
            b"\xff\xfe\x00",
            b"[" * 5000,
            b"promises: [{calls: '*', least: 2026-13-45}]",
            b"promises: []\npromises: []",
        ],
    )
    def test_a_file_that_is_no_yaml_is_named(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "sla.yaml"
        path.write_bytes(content)
        with pytest.raises(PromiseError, match=r"sla\.yaml"):
            load(path, NAMES)


class TestJudging:
    """Each objective is judged by itself, of all calls, answered or not."""

    def test_kept(self) -> None:
        promise = Promise("no history", {0.5: 10.0}, 0.5, 4)
        found = {"no history": answers(9, 9.5, 30, failures=1), "features late": answers(99)}
        assert judged(promise, found) == (
            Verdict("no history", "asked", "≥ 4 calls", "4 calls", True),
            Verdict("no history", "answered", "≥ 50 %", "75 %", True),
            Verdict("no history", "p50", "≤ 10 ms", "9.50 ms", True),
        )

    def test_the_worst_call_counts(self) -> None:
        promise = Promise("no history", {0.99: 50.0})
        found = {"no history": answers(*[1.0] * 98, 51.0, 51.0)}
        (verdict,) = judged(promise, found)
        assert (verdict.measured, verdict.kept) == ("51.00 ms", False)

    def test_a_call_that_is_not_answered_took_for_ever(self) -> None:
        promise = Promise("no history", {0.5: 50.0, 0.99: 50.0})
        verdicts = judged(promise, {"no history": answers(*[1.0] * 98, failures=2)})
        assert [(each.measured, each.kept) for each in verdicts] == [
            ("1.00 ms", True),
            ("not answered", False),
        ]

    def test_all_calls_together(self) -> None:
        promise = Promise(EVERY, {}, 0.9)
        found = {"no history": answers(1, failures=1), "features late": answers(*[1.0] * 8)}
        (verdict,) = judged(promise, found)
        assert (verdict.calls, verdict.measured, verdict.kept) == ("all calls", "90 %", True)

    def test_too_few_calls_prove_nothing(self) -> None:
        promise = Promise("no history", {0.5: 10.0}, least=3)
        verdicts = judged(promise, {"no history": answers(1, 1)})
        assert [(each.objective, each.kept) for each in verdicts] == [
            ("asked", False),
            ("p50", True),
        ]

    def test_no_calls_at_all_keep_no_promise(self) -> None:
        verdicts = judged(Promise("no history", {0.5: 10.0}, 0.9), {})
        assert {each.objective for each in verdicts} == {"asked", "answered", "p50"}
        assert not any(each.kept for each in verdicts)

    def test_real_time_is_what_the_open_loop_asked(self) -> None:
        found = {"no history": answers(1, 1), "scoring: no history": answers(99, failures=1)}
        promise = Promise(REAL_TIME, {0.99: 10.0}, 1.0)
        verdicts = judged(promise, found, real_time=["no history"])
        assert [each.kept for each in verdicts] == [True, True]

    def test_what_was_left_out_is_not_judged(self) -> None:
        """A run without Locust's users says nothing of them; users who asked nothing fail."""
        promise = Promise("scoring: no history", {0.5: 10.0}, 0.9)
        (verdict,) = judged(promise, {}, left_out=["scoring: "])
        assert (verdict.measured, verdict.kept) == ("left out", None)
        assert all_kept([verdict])
        assert not all_kept(judged(promise, {}))

    def test_the_generator(self) -> None:
        promise = GeneratorPromise(0.01, {0.99: 5.0})
        lag = answers(1, 2).due
        kept = judged(promise, {}, lag=lag, due=100, dropped=1)
        assert [each.kept for each in kept] == [True, True]
        missed = judged(promise, {}, lag=answers(9).due, due=100, dropped=2)
        assert [(each.objective, each.kept) for each in missed] == [
            ("dropped", False),
            ("lag p99", False),
        ]
        assert not all_kept(judged(promise, {}))

    def test_the_job(self) -> None:
        promise = JobPromise(10.0)
        found = [judged(promise, {}, job_rows_per_s=rate)[0].kept for rate in (10.0, 9.9, None)]
        assert found == [True, False, None]

    def test_memory_by_process(self) -> None:
        growth = {"worker": 0.021, "teacher": -0.3}
        verdicts = judged(MemoryPromise(0.02), {}, growth=growth)
        assert [(each.calls, each.measured, each.kept) for each in verdicts] == [
            ("worker", "2.1 %", False),
            ("teacher", "-30 %", True),
        ]
        (unknown,) = judged(MemoryPromise(0.02), {})
        assert unknown.kept is None
