"""One value of all that is known: what it says of what was counted, told and provided."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_server.objectives.blame import CallerFault
from cascade_server.page.looking import Look
from cascade_server.page.sections import Section
from cascade_server.page.snapshot import MOST_ROWS
from cascade_server.supervision.facts import ProcessFacts, ProcessState, packed
from cascade_server.terms import Tier

from tests.server.page.counting import FULL, REALTIME, Counted

FULL_HOUSE = grpc.StatusCode.RESOURCE_EXHAUSTED
ODD = '</script><img src=x onerror="alert(1)">& "\' \\ \u202e \x00'


def told(counted: Counted, *facts: ProcessFacts, releases: Any = None) -> None:
    listing = {"releases": releases or [], "generation": 1, "since": 0, "policies": {}}
    counted.books.told.write(packed(facts, listing, 1 << 20))


class TestTables:
    """Live percentiles by table and class, against what is promised."""

    def test_of_the_last_minute(self) -> None:
        counted = Counted()
        look = counted.look()
        counted.call(0.002, 80)
        counted.call(0.09, 20, tier=Tier.TEACHER)
        counted.call(0.0, 25, ending=FULL_HOUSE)
        counted.statistics.pool.releases.add(table="payments", version=1, hits=5)
        counted.now += 10
        [table] = look.snapshot()["tables"]
        [found] = table["classes"]
        assert found["class"] == "realtime"
        assert (found["answered_per_second"], found["failed_per_second"]) == (10.0, 2.5)
        assert found["latency"]["p50_ms"] == pytest.approx(2, rel=0.02)
        assert found["latency"]["p99_ms"] == pytest.approx(90, rel=0.02)
        assert found["promised_ms"] == [{"threshold_ms": 50.0, "target": 0.99}]
        assert found["student_share"] == 0.8
        assert table["tiers"] == {"student": 0.8, "teacher": 0.15, "pool": 0.05}

    def test_tables_that_nobody_asks_are_counted_and_not_listed(self) -> None:
        counted = Counted([f"table {number}" for number in range(300)])
        look = counted.look()
        counted.call(0.002, table="table 7")
        counted.now += 1
        found = look.snapshot()
        assert [each["table"] for each in found["tables"]] == ["table 7"]
        assert found["tables_served"] == 300
        assert found["objectives_without_calls"] == 300 * 5 - 2

    def test_those_in_trouble_come_first_and_all_has_a_bound(self) -> None:
        names = [f"table {number:04}" for number in range(MOST_ROWS + 10)]
        counted = Counted(names)
        look = counted.look()
        for name in names:
            counted.call(0.002, 2, table=name)
        counted.call(9.0, 50, table=names[-1])
        counted.now += 1
        found = look.snapshot()
        assert found["tables"][0]["table"] == names[-1]
        assert len(found["tables"]) == MOST_ROWS
        assert found["tables_left_out"] == 10
        assert found["objectives"][0]["table"] == names[-1]

    def test_a_table_of_any_name_is_named_as_it_is(self) -> None:
        counted = Counted((ODD,))
        look = counted.look()
        counted.call(0.002, table=ODD)
        counted.now += 1
        assert json.loads(look.packed())["tables"][0]["table"] == ODD


class TestPromises:
    """Objectives, and since when they are missed."""

    def test_a_promise_that_is_missed_says_since_when(self) -> None:
        counted = Counted()
        look = counted.look()
        for bad in (0, 0, 30, 30):
            counted.call(0.001, 70)
            counted.call(0.2, bad)
            counted.now += 10
            look.past.look()
        found = look.snapshot()
        missed = found["objectives"][0]
        assert missed["promise"] == "99 % within 50 ms"
        assert missed["alert"] == "page"
        assert counted.now - missed["since"] == pytest.approx(20, abs=10)
        assert found["state"]["level"] == "page"
        assert found["state"]["since"] == missed["since"]

    def test_what_was_kept_in_an_earlier_life_is_no_trouble_of_now(self) -> None:
        counted = Counted()
        look = counted.look()
        counted.call(0.001, 1000)
        counted.now += 1
        found = look.snapshot()
        assert {each["alert"] for each in found["objectives"]} == {"ok"}
        assert found["state"]["sentence"] == "Every promise is kept."


class TestRefusals:
    """What is not answered, and whose fault it is."""

    def test_by_why(self) -> None:
        counted = Counted()
        look = counted.look()
        counted.call(0.0, 30, ending=FULL_HOUSE)
        counted.call(0.0, 90, ending=CallerFault.DEADLINE_TOO_SHORT)
        counted.now += 30
        theirs, ours = look.snapshot()["refused"]
        assert (ours["code"], ours["is_ours"], ours["per_second"]) == (
            "RESOURCE_EXHAUSTED",
            True,
            1,
        )
        assert (theirs["code"], theirs["is_ours"]) == ("DEADLINE_TOO_SHORT", False)
        assert "shorter than any server needs" in theirs["why"]
        assert ours["last_five_minutes"] == 30


class TestStatistics:
    """What processes say of pool, cache, engines and values outside of what was learnt."""

    def test_shares_are_of_what_was_asked(self) -> None:
        counted = Counted()
        pool = counted.statistics.pool
        pool.bytes = 1000
        pool.releases.add(table="payments", version=1, hits=30, misses=10, rows=64)
        counted.statistics.cache.hits, counted.statistics.cache.misses = 1, 3
        found = counted.look().snapshot()
        assert found["pool"]["hit_share"] == 0.75
        assert found["pool"]["limit_bytes"] == 64 * 2**20
        assert found["cache"]["hit_share"] == 0.25

    def test_nothing_is_said_of_what_there_is_not(self) -> None:
        found = Counted().look().snapshot()
        assert found["pool"] is None
        assert found["cache"] is None
        assert found["jobs"] is None

    def test_values_outside_by_column(self) -> None:
        counted = Counted()
        counted.call(0.001, 100)
        counted.statistics.outside.add(
            table="payments", column="amount", kind=pb.OUTSIDE_KIND_ABOVE, values=25
        )
        [found] = counted.look().snapshot()["outside"]
        assert (found["column"], found["kind"], found["per_row"]) == ("amount", "above", 0.25)


class TestTold:
    """Processes and releases, as the supervisor tells of them."""

    def test_a_worker_that_says_nothing_is_silent(self) -> None:
        counted = Counted()
        counted.statistics.workers.add(pid=11, inside=2, limit=64, calls=9)
        began = counted.now - 100
        told(
            counted,
            ProcessFacts("worker 0", ProcessState.UP, 11, began),
            ProcessFacts("worker 1", ProcessState.UP, 12, began),
            ProcessFacts("worker 2", ProcessState.UP, 13, counted.now - 1),
        )
        found = {each["name"]: each for each in counted.look().snapshot()["processes"]}
        assert found["worker 0"]["state"] == "up"
        assert found["worker 0"]["inside"] == 2
        assert found["worker 1"]["state"] == "silent"
        assert found["worker 2"]["state"] == "up"  # it has just begun

    def test_times_are_the_walls(self) -> None:
        counted = Counted()
        told(
            counted,
            ProcessFacts("the teacher", ProcessState.AWAY, 0, 5.0, 3, counted.now - 7, "died"),
        )
        [found] = counted.look().snapshot()["processes"]
        assert found["died"] == pytest.approx(counted.now - 7)

    def test_a_server_that_has_told_nothing_is_shown_too(self) -> None:
        found = Counted().look().snapshot()
        assert (found["processes"], found["releases"]) == ([], [])

    def test_what_happened_lately_is_told_by_the_time_that_has_passed(self) -> None:
        """Not by the wall clock, which is set an hour back meanwhile."""
        counted, back = Counted(), 0.0
        look = Look(
            ServerConfig(),
            counted.ledger,
            lambda: counted.statistics,
            (),
            lambda: counted.now - back,
            counted.clock,
        )
        look.snapshot()
        counted.now += 60
        counted.books.live_versions.count("canary_rolled_back")
        assert look.snapshot()["release_events"]["canary_rolled_back_lately"] == 1
        back = 3600.0
        for _ in range(2):
            counted.now += 1830
            found = look.snapshot()
        assert found["release_events"]["canary_rolled_back_lately"] == 0

    def test_what_happened_while_nobody_watched_is_told(self) -> None:
        counted = Counted()
        counted.statistics.cache.SetInParent()
        look = counted.look()
        look.remember()
        counted.now += 10
        counted.books.live_versions.count("canary_rolled_back")
        counted.statistics.cache.second_level_failures["timeout"] = 3
        look.remember()
        counted.now += 10
        found = look.snapshot()
        assert found["release_events"]["canary_rolled_back_lately"] == 1
        assert found["cache"]["second_level_failing"] == {"timeout": 3}
        kinds = {each["kind"] for each in found["state"]["findings"]}
        assert kinds == {"a-canary-is-worse", "the-shared-cache-is-away"}

    @pytest.mark.parametrize("watched", [True, False])
    def test_a_canary_is_compared_with_who_answers(self, watched: bool) -> None:
        counted = Counted()
        counted.books.live_versions.put("payments", 1, 2, 0.25)
        release = {"table": "payments", "state": "loaded", "reason": "", "created": "", "share": 0}
        told(
            counted,
            releases=[
                {**release, "version": 1, "canary": False},
                {**release, "version": 2, "canary": True},
            ],
        )
        look = counted.look()
        _ = look.snapshot() if watched else look.remember()  # type: ignore[func-returns-value]
        for arm, bad in ((0, 1), (1, 40)):
            for number in range(100):
                seconds = 1.0 if number < bad else 0.001
                counted.ledger.record_trial(
                    "payments", REALTIME, arm, Tier.STUDENT, grpc.StatusCode.OK, seconds
                )
        stable, canary = look.snapshot()["releases"]
        assert (stable["share"], canary["share"]) == (0.75, 0.25)
        assert stable["trial"] is None
        assert canary["trial"]["is_worse"]
        assert canary["trial"]["canary_bad_share"] == 0.4


class TestSections:
    """What other rooms provide."""

    def test_given_as_they_are(self) -> None:
        section = Section("cost", lambda: {"title": "Cost", "rows": [{"usd": 0.5}]})
        found = Counted().look(section, Section("tenants", lambda: None)).snapshot()
        assert found["sections"] == {"cost": {"title": "Cost", "rows": [{"usd": 0.5}]}}

    @pytest.mark.parametrize("bad", [lambda: 1 / 0, lambda: {"a": math.nan}, lambda: {"a": {1, 2}}])
    def test_one_that_fails_keeps_nothing_else_from_being_shown(self, bad: Any) -> None:
        counted = Counted()
        look = counted.look(Section("cost", bad), Section("tenants", lambda: {"rows": []}))
        counted.call(0.001)
        counted.now += 1
        found = json.loads(look.packed())
        assert list(found["failing_sections"]) == ["cost"]
        assert found["sections"] == {"tenants": {"rows": []}}
        assert found["tables"]
        kinds = [each["kind"] for each in found["state"]["findings"]]
        assert kinds == ["a-part-of-the-page-fails"]

    def test_jobs_of_a_folder_without_any(self, tmp_path: Path) -> None:
        from cascade_server.page.sections import JobsSection

        section = Section("jobs", JobsSection(tmp_path, 100))
        found = Counted().look(section).snapshot()
        assert found["jobs"]["list"] == []
        assert not list(tmp_path.iterdir())

    def test_a_ledger_that_cannot_be_read_says_so(self, tmp_path: Path) -> None:
        from cascade_server.page.sections import JobsSection

        (tmp_path / "jobs").mkdir()
        (tmp_path / "jobs" / "jobs.sqlite").write_bytes(b"this is no ledger" * 1000)
        section = Section("jobs", JobsSection(tmp_path, 100))
        found = Counted().look(section).snapshot()
        assert "jobs.sqlite" in found["jobs"]["unreadable"]
        assert found["state"]["findings"][0]["kind"] == "jobs-do-not-go-on"


def test_a_snapshot_that_cannot_be_made_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()
    look = counted.look(config=lambda: ServerConfig(port=1))
    monkeypatch.setattr(counted.ledger, "report", lambda: 1 / 0)
    found = json.loads(look.packed())
    assert found["state"]["level"] == "ticket"
    assert "ZeroDivisionError" in found["state"]["cause"]


def test_classes_do_not_mix() -> None:
    counted = Counted()
    look = counted.look()
    counted.call(0.001, 5)
    counted.call(0.5, 5, service=FULL, tier=Tier.TEACHER)
    counted.now += 1
    [table] = look.snapshot()["tables"]
    quick, slow = table["classes"]
    assert quick["latency"]["p99_ms"] < 2 < slow["latency"]["p50_ms"]
