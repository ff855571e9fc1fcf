"""Usage as it is told, saved and gone on from."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.compute import OTHER_TABLES, UsageKey, UsageTier, Used
from cascade_server.counts.shared.process_usage import Held, ProcessRole
from cascade_server.counts.state_file import StateDamaged, decode, encode
from cascade_server.counts.usage import Usage, usage_of
from cascade_server.counts.usage_metrics import UsageCollector, billed, idle_seconds
from cascade_server.objectives.objective import SloConfig
from cascade_server.releases.next_generation import carry_over

CREDIT = UsageKey("credit", UsageTier.STUDENT, "a")
REFILL = UsageKey("credit", UsageTier.REFILL)
USED = Used(2.0, 0.0, 3, 4, 12)


class Clock:
    now = 1_796_000_000.0

    def __call__(self) -> float:
        return self.now


def books(tables: tuple[str, ...] = ("adult", "credit")) -> tuple[Books, Clock]:
    clock = Clock()
    found = Books(SloConfig(), tables, 2, clock, executors=1)
    found.places[0].compute.add(CREDIT, USED)
    found.executors[0].add(UsageKey("adult", UsageTier.JOB), USED)
    found.places[1].compute.add(REFILL, Used(5.0, 0.0, 1, 16, 48))
    for place in (found.processes[0], found.teacher(1)):
        place.succeed()
        place.uses(10.0)
        place.holds(Held(1000.0, 100.0, 50.0), 2.0)
    clock.now += 100
    return found, clock


def restored(content: bytes, tables: tuple[str, ...] = ("adult", "credit")) -> Books:
    clock = Clock()
    clock.now += 500
    found = Books(SloConfig(), tables, 1, clock, executors=1)
    Ledger(found.config, found.tables, clock, found, 1).restore(decode(content))
    return found


def state(found: Books, clock: Clock) -> bytes:
    return encode(Ledger(found.config, found.tables, clock, found, 2).state())


def test_all_processes_are_told_of() -> None:
    found, clock = books()
    told = usage_of(found).as_message(clock.now, found.tables)
    assert [(each.table, each.tier, each.tenant, each.rows) for each in told.compute] == [
        ("adult", pb.USAGE_TIER_JOB, "", 4),
        ("credit", pb.USAGE_TIER_REFILL, "", 16),
        ("credit", pb.USAGE_TIER_STUDENT, "a", 4),
    ]
    roles = {each.role: each for each in told.processes}
    worker = roles[pb.PROCESS_ROLE_WORKER]
    assert (worker.processes, worker.compute_seconds, worker.pool_bytes) == (1, 10.0, 100)
    assert (told.serving_seconds, list(told.tables)) == (100.0, ["adult", "credit"])


class TestRestart:
    """What was used outlives the server."""

    def test_it_goes_on(self) -> None:
        found, clock = books()
        again = restored(state(found, clock))
        usage = usage_of(again)
        assert usage.compute == usage_of(found).compute
        assert (usage.since, usage.serving) == (Clock.now, 100.0)
        worker = usage.processes[ProcessRole.WORKER]
        assert (worker.seconds, worker.processes, worker.held) == (10.0, 0, Held())
        assert worker.byte_seconds == Held(2000.0, 200.0, 100.0)

    def test_it_goes_on_a_second_time(self) -> None:
        found, clock = books()
        once = restored(state(found, clock))
        once.places[0].compute.add(CREDIT, USED)
        content = encode(Ledger(once.config, once.tables, once.clock, once, 1).state())
        assert usage_of(restored(content)).compute[CREDIT] == USED.plus(USED)

    def test_a_table_that_is_gone_has_been_paid_for_all_the_same(self) -> None:
        found, clock = books()
        usage = usage_of(restored(state(found, clock), ("adult",)))
        assert usage.compute[UsageKey(OTHER_TABLES, UsageTier.STUDENT, "a")] == USED

    def test_it_goes_on_in_larger_books(self) -> None:
        found, clock = books()
        larger = Books(SloConfig(), ("adult", "credit", "new"), 4, clock, executors=1)
        carry_over(found, larger)
        assert usage_of(larger).compute == usage_of(found).compute

    def test_a_state_of_before_has_none(self) -> None:
        found, clock = books()
        document = json.loads(state(found, clock))
        del document["usage"]
        assert usage_of(restored(json.dumps(document).encode())).compute == {}

    @pytest.mark.parametrize(
        "usage",
        [
            None,
            [],
            {},
            {"since": 1, "serving": 1, "compute": [["credit"]], "processes": {}},
            {"since": 1, "serving": -1, "compute": [], "processes": {}},
            {"since": 1, "serving": 1e300, "compute": [], "processes": {}},
            {"since": 1, "serving": 1, "compute": [], "processes": {"boss": [1, 1, 1, 1]}},
            {
                "since": 1,
                "serving": 1,
                "compute": [["credit", "student", "", float("nan"), 0, 1, 1, 1]],
                "processes": {},
            },
        ],
    )
    def test_damage_is_found(self, usage: Any) -> None:
        found, clock = books()
        document = json.loads(state(found, clock)) | {"usage": usage}
        with pytest.raises(StateDamaged):
            decode(json.dumps(document).encode())


class TestMetrics:
    """As Prometheus sees it."""

    def test_the_pool_is_given_rows_and_what_they_cost_to_make(self) -> None:
        found, _ = books()
        usage = usage_of(found)
        pool = billed(usage)["credit", "pool", ""]
        assert (pool.seconds, pool.rows) == (5.0, 0)
        assert idle_seconds(usage) == 20.0 - 2.0 - 2.0 - 5.0

    def test_tiers_and_idle_add_up_to_what_processes_have_used(self) -> None:
        found, _ = books()
        metrics = {each.name: each for each in UsageCollector(found).collect()}
        seconds = [each.value for each in metrics["cascade_compute_seconds"].samples]
        whole = [each.value for each in metrics["cascade_process_compute_seconds"].samples]
        assert np.sum(seconds) == pytest.approx(np.sum(whole))
        memory = {
            each.labels["tier"]: each.value for each in metrics["cascade_tier_memory_bytes"].samples
        }
        assert memory == {
            "student": 850.0,
            "pool": 100.0,
            "cache": 50.0,
            "teacher": 1000.0,
            "job": 0.0,
        }

    def test_counters_begin_with_the_server_whatever_those_before_it_have_used(self) -> None:
        found, clock = books()
        saved = state(found, clock)
        # What a server that is killed has told since it was saved last.
        found.places[0].compute.add(CREDIT, Used(3.0))
        again = restored(saved)
        again.places[0].compute.add(CREDIT, Used(0.5, 0.0, 1, 1, 1))
        again.processes[0].succeed()
        again.processes[0].uses(0.75)
        again.processes[0].holds(Held(10.0), 2.0)
        counted = {
            (sample.name, *sample.labels.values()): sample.value
            for metric in UsageCollector(again).collect()
            for sample in metric.samples
            if metric.type == "counter" and sample.value
        }
        assert counted == {
            ("cascade_compute_seconds_total", "credit", "student", "a"): 0.5,
            ("cascade_compute_seconds_total", "", "idle", ""): 0.25,
            ("cascade_compute_answers_total", "credit", "student", "a"): 1,
            ("cascade_compute_rows_total", "credit", "student", "a"): 1,
            ("cascade_compute_tokens_total", "credit", "student", "a"): 1,
            ("cascade_process_compute_seconds_total", "worker"): 0.75,
            ("cascade_process_memory_byte_seconds_total", "worker"): 20.0,
        }
        # The bill goes on.
        assert usage_of(again).compute[CREDIT].seconds == 2.5

    def test_a_counter_does_not_fall(self) -> None:
        found, _ = books()
        collector = UsageCollector(found)

        def idle() -> float:
            (sample,) = [
                sample
                for metric in collector.collect()
                for sample in metric.samples
                if sample.labels.get("tier") == "idle"
            ]
            return sample.value

        before = idle()
        # Charged at once, while the process says what it has used a second later.
        found.places[0].compute.add(CREDIT, Used(3.0))
        assert idle() == before


def test_a_document_is_read_again() -> None:
    found, _ = books()
    usage = usage_of(found)
    again = Usage.from_document(json.loads(json.dumps(usage.as_document())))
    assert again.compute == usage.compute
