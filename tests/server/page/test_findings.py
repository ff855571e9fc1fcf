"""What is wrong, since when, why, and what to do."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from cascade_server.page.findings import LEVELS, Level, percent, state_of

NOW = 1_800_000_000.0


def quiet() -> dict[str, Any]:
    """A server that answers, and keeps all it promises."""
    objective = {
        "name": "credit-realtime-availability",
        "table": "credit",
        "class": "realtime",
        "kind": "availability",
        "target": 0.999,
        "promise": "99.9 % answered",
        "events": 10_000,
        "good_share": 1.0,
        "recent_events": 1000,
        "recent_good_share": 1.0,
        "hour_events": 9000,
        "hour_good_share": 1.0,
        "burn_rates": dict.fromkeys(("5m", "30m", "1h", "6h", "1d", "3d"), 0.0),
        "budget_remaining": 1.0,
        "alert": "ok",
        "since": None,
    }
    process = {
        "name": "worker 0",
        "state": "up",
        "pid": 10,
        "began": NOW - 5000,
        "deaths": 0,
        "died": None,
        "how": "",
    }
    return {
        "at": NOW,
        "window_days": 30,
        "totals": {"inside": 3, "limit": 64, "answered_per_second": 50.0},
        "tables": [{"table": "credit", "steps_down": 0}],
        "tables_served": 2,
        "objectives": [objective],
        "objectives_without_calls": 4,
        "processes": [process, {**process, "name": "the teacher", "pid": 11}],
        "servers": [],
        "refused": [],
        "releases": [{"table": "credit", "version": 1, "state": "loaded", "share": 1.0}],
        "release_events": {},
        "cache": None,
        "jobs": None,
        "engines": [],
        "failing_sections": {},
        "generation": 1,
        "generation_since": NOW - 5000,
    }


def missed(found: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The promise is broken, so that somebody has to get up."""
    objective = found["objectives"][0]
    objective |= {"alert": "page", "recent_good_share": 0.9, "since": NOW - 120, **more}
    objective["burn_rates"] = dict.fromkeys(objective["burn_rates"], 100.0)
    return found


def refused(code: str, number: int) -> dict[str, Any]:
    return {
        "table": "credit",
        "class": "realtime",
        "code": code,
        "is_ours": True,
        "per_second": number / 60,
        "last_five_minutes": number,
    }


def test_all_is_well() -> None:
    state = state_of(quiet())
    assert (state["level"], state["sentence"]) == ("ok", "Every promise is kept.")
    assert state["detail"] == ("1 promise to callers of 1 table measured; 4 more had no calls yet.")
    assert state["findings"] == []


def test_nobody_has_called() -> None:
    found = quiet() | {"objectives": [], "tables": []}
    assert state_of(found)["sentence"] == "Ready. Nobody has called yet."


class TestPromises:
    """What is promised, what is missed, since when."""

    def test_in_a_sentence(self) -> None:
        state = state_of(missed(quiet()))
        assert state["level"] == "page"
        assert state["sentence"] == (
            "credit breaks its promise to real-time calls: 99.9 % answered. "
            "Only 90 % of 1,000 were in the last 5 minutes."
        )
        assert state["since"] == NOW - 120

    def test_what_has_recovered_is_told_of_the_hour(self) -> None:
        found = missed(quiet(), recent_good_share=1.0, hour_good_share=0.98)
        assert "98 % of 9,000 were in the last hour" in state_of(found)["sentence"]

    def test_a_budget_that_burns_is_worth_a_note(self) -> None:
        found = quiet()
        found["objectives"][0]["burn_rates"]["5m"] = 3.2
        found["objectives"][0]["recent_good_share"] = 0.9968
        [finding] = state_of(found)["findings"]
        assert finding["level"] == "notice"
        assert "3.2 times as fast" in finding["what"]
        assert state_of(found)["level"] == "notice"

    def test_how_many_more_there_are(self) -> None:
        found = missed(quiet())
        found["objectives"].append(copy.deepcopy(found["objectives"][0]))
        assert state_of(found)["sentence"].endswith("And 1 more, below.")

    def test_of_very_many_the_gravest_are_told(self) -> None:
        found = missed(quiet())
        found["objectives"] = [copy.deepcopy(found["objectives"][0]) for _ in range(500)]
        state = state_of(found)
        assert len(state["findings"]) + state["findings_left_out"] == 500
        assert state["sentence"].endswith("And 499 more, below.")
        assert len(state["findings"]) < 100

    def test_no_cause_is_made_up(self) -> None:
        state = state_of(missed(quiet()))
        assert state["cause"] == ""
        assert "No cause was seen here" in state["findings"][0]["remedies"][0]


class TestCauses:
    """The likeliest, of those that were seen."""

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            ("RESOURCE_EXHAUSTED", "Overload: 300 calls were refused"),
            ("UNAVAILABLE", "no process or no model"),
            ("INTERNAL", "a defect of the server"),
            ("DEADLINE_EXCEEDED", "ran out of time"),
        ],
    )
    def test_what_most_failures_are(self, code: str, words: str) -> None:
        found = missed(quiet())
        found["refused"] = [refused(code, 300), refused("UNKNOWN", 20)]
        assert words in state_of(found)["cause"]

    def test_callers_own_faults_explain_nothing(self) -> None:
        found = missed(quiet())
        found["refused"] = [refused("INVALID_ARGUMENT", 300) | {"is_ours": False}]
        assert state_of(found)["cause"] == ""

    def test_a_worker_that_is_away(self) -> None:
        found = missed(quiet())
        found["processes"][0] |= {"state": "away", "how": "was ended by SIGSEGV", "died": NOW - 9}
        found["processes"].insert(1, {**quiet()["processes"][0], "name": "worker 1"})
        found["refused"] = [refused("UNAVAILABLE", 300)]
        assert state_of(found)["cause"] == (
            "Worker 0 is started again. It was ended by SIGSEGV. 1 of 2 workers are away."
        )

    def test_a_teacher_that_is_away_explains_what_needs_it_alone(self) -> None:
        found = missed(quiet())
        found["processes"][1] |= {"state": "away", "how": "was ended by SIGKILL", "died": NOW - 60}
        assert "teacher" not in state_of(found)["cause"]
        found["objectives"][0]["class"] = "full"
        assert state_of(found)["cause"] == (
            "The teacher's process is away: it was ended by SIGKILL."
        )

    def test_a_process_that_died_then_and_is_back(self) -> None:
        found = missed(quiet())
        found["processes"][0] |= {"deaths": 1, "died": NOW - 118, "how": "was ended by SIGKILL"}
        found["refused"] = [refused("UNAVAILABLE", 30)]
        assert "Worker 0 was ended by SIGKILL" in state_of(found)["cause"]

    def test_a_death_long_before_explains_nothing(self) -> None:
        found = missed(quiet())
        found["processes"][0] |= {"deaths": 1, "died": NOW - 3000, "how": "was ended by SIGKILL"}
        assert state_of(found)["cause"] == ""

    def test_a_canary_that_is_worse_comes_before_all_else(self) -> None:
        found = missed(quiet())
        trial = {"is_worse": True, "canary_bad_share": 0.4, "stable_bad_share": 0.01}
        trial["objective"] = "credit-realtime-availability"
        found["releases"].append(
            {"table": "credit", "version": 2, "state": "loaded", "share": 0.05, "trial": trial}
        )
        found["refused"] = [refused("INTERNAL", 300)]
        state = state_of(found)
        assert state["cause"].startswith("Version 2 is on trial, and worse")
        assert "cascade releases rollback credit" in state["findings"][0]["remedies"]

    def test_overload_makes_calls_late(self) -> None:
        found = missed(quiet(), kind="latency", promise="99 % within 50 ms")
        found["totals"]["inside"] = 63
        assert state_of(found)["cause"].startswith("Overload")

    def test_a_job_beside_calls_that_are_late(self) -> None:
        found = missed(quiet(), kind="latency", promise="99 % within 50 ms")
        job = {"id": "j1", "table": "adult", "state": "RUNNING", "waiting": ""}
        found["jobs"] = {"list": [job], "bytes": 0, "limit_bytes": 0}
        state = state_of(found)
        assert state["cause"].startswith("Job j1 of adult")
        assert "cascade jobs cancel j1" in state["findings"][0]["remedies"]

    def test_a_reload_just_before(self) -> None:
        found = missed(quiet(), kind="latency", promise="99 % within 50 ms")
        found |= {"generation": 3, "generation_since": NOW - 130}
        assert state_of(found)["cause"].startswith("Generation 3")


class TestWhatElse:
    """What is wrong beside promises, whether it has hurt anybody or not."""

    def test_nobody_answers(self) -> None:
        found = quiet()
        found["processes"][0]["state"] = "silent"
        state = state_of(found)
        assert state["level"] == "page"
        assert state["sentence"].startswith("Nobody answers: the only worker is away or silent.")

    def test_that_nobody_answers_is_said_before_what_follows_from_it(self) -> None:
        found = missed(quiet())
        found["processes"][0]["state"] = "silent"
        assert state_of(found)["sentence"].startswith("Nobody answers: ")

    def test_the_teacher_is_away(self) -> None:
        found = quiet()
        found["processes"][1] |= {"state": "away", "deaths": 2, "died": NOW - 3, "how": "died"}
        [finding] = state_of(found)["findings"]
        assert finding["level"] == "ticket"
        assert finding["what"] == "The teacher is away."
        assert "started again twice" in finding["cause"]

    def test_refusals(self) -> None:
        found = quiet() | {"refused": [refused("RESOURCE_EXHAUSTED", 60)]}
        [finding] = state_of(found)["findings"]
        assert finding["what"].startswith("1 calls/s are refused")
        assert "3 of 64 places" in finding["cause"]

    def test_a_release_that_was_refused(self) -> None:
        found = quiet()
        found["releases"].append(
            {"table": "credit", "version": 2, "state": "refused", "share": 0, "reason": "bad hash"}
        )
        [finding] = state_of(found)["findings"]
        assert (finding["kind"], finding["cause"]) == ("a-release-was-refused", "bad hash")

    def test_a_server_of_networks_that_is_not_asked(self) -> None:
        found = quiet()
        found["servers"] = [{"target": "10.0.0.5:8001", "up": False, "reason": "refused"}]
        assert "10.0.0.5:8001" in state_of(found)["sentence"]

    def test_an_engine_that_is_stuck(self) -> None:
        found = quiet()
        found["engines"] = [
            {
                "table": "credit",
                "version": 1,
                "tier": "teacher",
                "waiting": 4,
                "idle_seconds": 45.0,
            }
        ]
        state = state_of(found)
        assert "4 requests wait" in state["sentence"]
        assert state["since"] == NOW - 45

    def test_jobs(self) -> None:
        found = quiet()
        job = {
            "id": "j1",
            "table": "adult",
            "state": "PENDING",
            "waiting": "the policy forbids it",
            "waiting_since": NOW - 90,
        }
        found["jobs"] = {"list": [job], "bytes": 95, "limit_bytes": 100}
        kinds = {each["kind"]: each for each in state_of(found)["findings"]}
        assert list(kinds) == ["jobs-do-not-go-on"]
        assert state_of(found)["level"] == "ticket"

    def test_the_gravest_comes_first(self) -> None:
        found = missed(quiet())
        found["processes"][1] |= {"state": "away", "deaths": 1, "died": NOW - 3, "how": "died"}
        found["refused"] = [refused("RESOURCE_EXHAUSTED", 60)]
        levels = [LEVELS.index(Level(each["level"])) for each in state_of(found)["findings"]]
        assert levels == sorted(levels)
        assert len(levels) == 3


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (1.0, "100 %"),
        (0.99999, "99.9990 %"),
        (0.99999999, "99.9999 %"),
        (0.9951, "99.51 %"),
        (0.5, "50 %"),
        (0.123, "12.3 %"),
        (0.0, "0 %"),
        (-0.5, "-50 %"),
        (-28.41, "-2841 %"),
    ],
)
def test_a_share_is_never_rounded_to_all(share: float, words: str) -> None:
    assert percent(share) == words


def test_docs_say_what_to_do_about_each() -> None:
    """A finding's kind is a heading of docs/operations.md."""
    root = Path(__file__).parents[3]
    source = (root / "server/cascade_server/page/findings.py").read_text()
    kinds = set(re.findall(r'^            "([a-z]+(?:-[a-z]+)*)",$', source, re.MULTILINE))
    assert len(kinds) > 5
    page = (root / "docs" / "operations.md").read_text()
    headings = {each.lower().replace(" ", "-") for each in re.findall("^### (.*)$", page, re.M)}
    assert kinds <= headings
    assert "a-part-of-the-page-fails" in headings
