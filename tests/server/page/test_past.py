"""Rates, percentiles and the last hour, from counts that only grow."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from cascade_server.counts.shared.sketches import SLOT
from cascade_server.page.past import EVERY, HOUR, MOST_SERIES, STEP
from cascade_server.terms import Tier

from tests.server.page.counting import FULL, REALTIME, Counted

# A sketch's own.
WITHIN = 0.011
FULL_HOUSE = grpc.StatusCode.RESOURCE_EXHAUSTED


class TestLastMinute:
    """What is live on the page."""

    def test_rates_are_of_the_time_that_has_passed(self) -> None:
        counted = Counted()
        past = counted.past()
        counted.call(0.002, 40)
        counted.call(0.0, 10, ending=FULL_HOUSE)
        counted.now += 5
        past.look()
        minute = past.last_minute()
        assert minute.seconds == pytest.approx(5)
        assert sum(minute.calls.values()) == 50

    def test_what_was_counted_before_is_no_part_of_it(self) -> None:
        counted = Counted()
        counted.call(0.5, 1000)
        past = counted.past()
        counted.call(0.002, 7)
        counted.now += 5
        past.look()
        assert sum(past.last_minute().calls.values()) == 7
        assert past.last_minute().sketches["payments", REALTIME].sum() == 7

    def test_what_is_older_is_forgotten(self) -> None:
        counted = Counted()
        past = counted.past()
        counted.call(0.5, 100)
        for _ in range(8):
            counted.now += STEP
            past.look()
        counted.call(0.002, 3)
        counted.now += 1
        past.look()
        assert sum(past.last_minute().calls.values()) == 3
        assert sum(past.last_five_minutes().calls.values()) == 103

    def test_latencies_go_on_over_the_end_of_a_slot(self) -> None:
        """A sketch's slot is of five minutes; its latencies are counted once, whenever it ends."""
        counted = Counted(now=SLOT * 6_000_000 - 4.0)
        past = counted.past()
        seen = 0
        for number in range(40):
            counted.call(0.001 * (1 + number), 5)
            counted.now += 1
            past.look()
            seen = int(past.last_minute().sketches["payments", REALTIME].sum())
        assert seen == 200

    def test_a_fall_of_a_count_is_no_negative_rate(self) -> None:
        counted = Counted()
        counted.statistics.pool.releases.add(table="payments", version=1, hits=50)
        past = counted.past()
        del counted.statistics.pool.releases[:]
        counted.statistics.pool.releases.add(table="payments", version=1, hits=4)
        counted.now += 2
        past.look()
        assert past.last_minute().pooled == {}


class TestLastHour:
    """What a page shows that has just been opened."""

    def test_each_step_has_its_percentiles(self) -> None:
        counted = Counted()
        past = counted.past()
        for seconds in (0.002, 0.04):
            counted.call(seconds, 100)
            counted.now += STEP
            past.look()
        found = past.series("payments", REALTIME)
        assert found["p50"] == pytest.approx([0.002, 0.04], rel=WITHIN)
        assert found["answered"] == pytest.approx([10, 10])
        assert found["at"] == [counted.now - STEP, counted.now]

    def test_of_all_tables_together_too(self) -> None:
        counted = Counted(("payments", "cards"))
        past = counted.past()
        counted.call(0.002, 60)
        counted.call(0.002, 40, table="cards", tier=Tier.TEACHER)
        counted.call(0.1, 5, table="cards", service=FULL, tier=Tier.TEACHER)
        counted.now += STEP
        past.look()
        found = past.series(EVERY, REALTIME)
        assert found["answered"] == [10.0]
        assert found["student"] == [6.0]
        assert found["teacher"] == [4.0]
        assert past.series(EVERY, FULL)["answered"] == [0.5]

    def test_a_silent_step_has_no_latency(self) -> None:
        counted = Counted()
        past = counted.past()
        counted.call(0.002, 10)
        for _ in range(2):
            counted.now += STEP
            past.look()
        found = past.series("payments", REALTIME)
        assert found["p99"][1] is None
        assert found["answered"] == [1.0, 0.0]

    def test_an_hour_is_kept_and_no_more(self) -> None:
        counted = Counted()
        past = counted.past()
        counted.call(0.002, 10)
        for _ in range(HOUR + 20):
            counted.now += STEP
            past.look()
        found = past.series("payments", REALTIME)
        assert {len(values) for key, values in found.items()} == {HOUR}
        assert not any(found["answered"])  # what came first is older
        assert np.all(np.diff(found["at"]) > 0)

    def test_a_table_that_was_never_asked_has_an_empty_past(self) -> None:
        counted = Counted()
        past = counted.past()
        counted.now += STEP
        past.look()
        assert past.series("nothing", REALTIME)["answered"] == [0.0]

    def test_however_many_tables_there_are_the_room_is_bounded(self) -> None:
        tables = [f"table {number}" for number in range(MOST_SERIES + 30)]
        counted = Counted(tables)
        past = counted.past()
        for table in tables:
            counted.call(0.002, table=table)
        counted.now += STEP
        past.look()
        asked = [bool(past.series(table, REALTIME)["answered"][0]) for table in tables]
        assert 0 < sum(asked) < MOST_SERIES
        assert past.series(EVERY, REALTIME)["answered"] == [pytest.approx(len(tables) / STEP)]
