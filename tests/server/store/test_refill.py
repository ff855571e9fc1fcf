"""What the teacher makes ahead of time, and when it makes nothing."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cascade_server.counts.ledger import Ledger
from cascade_server.engines.runtime import Runtime, Tokens
from cascade_server.engines.teacher import TeacherInput
from cascade_server.errors import NotReady
from cascade_server.objectives.blame import BLAMED
from cascade_server.objectives.objective import Kind, Objective, SloConfig
from cascade_server.objectives.report import OK
from cascade_server.store.pool import Demand, Key, Pool, PoolConfig, condition_of
from cascade_server.store.refill import (
    Candidate,
    Load,
    Refill,
    RefillConfig,
    batch_of,
    horizon_after,
    rest,
    share,
    soonest,
    worst_burn,
)
from cascade_server.terms import ServiceClass, Tier
from cascade_tables import load_release
from cascade_tables.sampling import sample_teacher

from tests.releases import TABLE, make_release
from tests.server.messages import COLUMNS, allowed

IDLE = Load(inside=0, since_offline=math.inf, burn=0.0, busy=0.0)
CONFIG = RefillConfig()
A, B, C = (Key("credit/1/x", name) for name in (b"a", b"b", b"c"))


class TestWhether:
    """Only while real-time callers get what they were promised, and nothing else is to be done."""

    def test_an_idle_server_makes_rows_part_of_the_time(self) -> None:
        assert share(IDLE, CONFIG) == CONFIG.most_share

    @pytest.mark.parametrize(
        "load",
        [
            replace(IDLE, inside=1),
            replace(IDLE, since_offline=0.5 * CONFIG.after_offline),
            replace(IDLE, burn=1.01),
            replace(IDLE, since_call=0.5 * CONFIG.after_call),
            replace(IDLE, busy=1.0),
            replace(IDLE, busy=1.9),
        ],
    )
    def test_not_now(self, load: Load) -> None:
        assert share(load, CONFIG) == 0

    def test_the_busier_the_less(self) -> None:
        shares = [share(replace(IDLE, busy=busy), CONFIG) for busy in (0.0, 0.3, 0.6, 0.85)]
        assert shares == sorted(shares, reverse=True)
        assert shares[-1] > 0

    def test_a_rest_leaves_the_share(self) -> None:
        assert rest(0.02, 0.5, CONFIG) == pytest.approx(0.02)
        assert rest(0.02, 0.1, CONFIG) == pytest.approx(0.18)

    def test_where_nothing_was_made_it_looks_again_after_a_tick(self) -> None:
        assert rest(0.0, 0.5, CONFIG) == CONFIG.tick
        assert rest(0.02, 0.0, CONFIG) == CONFIG.tick


class TestBurn:
    """Which objectives count."""

    OBJECTIVES = (
        Objective("*", ServiceClass.REALTIME, Kind.LATENCY, 0.5, threshold=0.05),
        Objective("*", ServiceClass.REALTIME, Kind.FIDELITY, 0.9, tier=Tier.TEACHER),
        Objective("*", ServiceClass.OFFLINE, Kind.AVAILABILITY, 0.9),
    )

    @pytest.fixture
    def ledger(self) -> Ledger:
        return Ledger(SloConfig(objectives=self.OBJECTIVES), ["credit"], clock=lambda: 1e9)

    def test_slow_real_time_answers(self, ledger: Ledger) -> None:
        for seconds in (0.01, 0.06, 0.07):
            ledger.record("credit", ServiceClass.REALTIME, Tier.STUDENT, OK, seconds)
        assert worst_burn(ledger.report()) == pytest.approx(2 / 3 / 0.5)

    def test_not_fidelity_which_the_pool_mends_nor_offline_work(self, ledger: Ledger) -> None:
        ledger.record_rows("credit", ServiceClass.REALTIME, Tier.STUDENT, 100)
        ledger.record("credit", ServiceClass.OFFLINE, None, BLAMED[0], 1.0)
        assert worst_burn(ledger.report()) == 0

    def test_without_objectives_nothing_burns(self) -> None:
        ledger = Ledger(SloConfig(objectives=self.OBJECTIVES[2:]), ["credit"])
        assert worst_burn(ledger.report()) == 0


class TestWhat:
    """The rows that are given out soonest."""

    def test_the_soonest_first(self) -> None:
        some = [Candidate(A, 1.0, 9), Candidate(B, 0.5, 0), Candidate(C, 0.0, 0)]
        assert [each.key for each in soonest(some, 2)] == [B, A]

    def test_stocks_become_equally_long(self) -> None:
        wanted = batch_of([Candidate(A, 3.0, 0), Candidate(B, 1.0, 0)], 16, 300.0)
        assert wanted == {A: 12, B: 4}

    def test_what_is_there_counts(self) -> None:
        assert batch_of([Candidate(B, 1.0, 0), Candidate(A, 3.0, 30)], 8, 300.0) == {B: 8}

    def test_nothing_that_would_lie_too_long(self) -> None:
        assert batch_of([Candidate(A, 0.1, 0)], 16, 30.0) == {A: 3}
        assert batch_of([Candidate(A, 0.01, 0), Candidate(B, 0.0, 0)], 16, 30.0) == {}
        assert batch_of([], 16, 30.0) == {}

    def test_one_release_a_batch(self) -> None:
        other = Key("adult/1/y", b"a")
        assert batch_of([Candidate(A, 3.0, 0), Candidate(other, 2.9, 0)], 4, 300.0) == {A: 4}

    def test_a_full_pool_takes_only_what_is_used_sooner_than_what_goes_for_it(self) -> None:
        assert horizon_after(300.0, [50.0, 100.0], room=0.0, most=300.0) == pytest.approx(40.0)
        assert horizon_after(20.0, [50.0], room=0.0, most=300.0) == 20.0
        # Slowly more where nothing had to go, all of it where there is room.
        assert 20.0 < horizon_after(20.0, [], room=0.05, most=300.0) < 30.0
        assert horizon_after(20.0, [], room=0.5, most=300.0) == 300.0


class Stopped(Exception):
    """Ends `Refill.run`."""


class Bench:
    """A refill of a real release, whose teacher draws at once and whose clock stands still."""

    def __init__(self, runtime: Runtime, max_bytes: int = 10**7, **config: Any) -> None:
        self.runtime = runtime
        self.submitted: list[int] = []
        self.load = IDLE
        self.pauses: list[float] = []
        self.now = 0.0
        self.breaks: Exception | None = None
        self.pool = Pool(PoolConfig(max_bytes), [runtime.identity])
        self.demand = Demand(half_life=10.0)
        self.refill = Refill(
            self.pool,
            self.demand,
            {runtime.identity: runtime},
            lambda: [runtime.identity],
            self.draw,
            lambda busy: replace(self.load, busy=busy),
            RefillConfig(**config),
            clock=lambda: self.now,
            pause=self.pause,
            rng=np.random.default_rng(0),
        )

    async def draw(self, runtime: Runtime, given: TeacherInput) -> Tokens:
        if self.breaks:
            raise self.breaks
        self.submitted.append(len(given.tokens))
        self.now += 0.02
        return sample_teacher(
            runtime.denoise,
            given.tokens,
            given.observed,
            given.noise,
            runtime.layout,
            given.steps,
        )

    async def pause(self, seconds: float) -> float:
        self.pauses.append(seconds)
        if len(self.pauses) > 3:
            raise Stopped
        return 0.0

    def key(self, **given: Any) -> Key:
        """The key of one row of which this is known."""
        columns = {name: [value] for name, value in given.items()}
        encoded = self.runtime.release.codec.encode_partial(columns, 1)
        return Key(self.runtime.identity, condition_of(encoded.tokens, encoded.observed))

    def rows(self, key: Key) -> list[dict[str, Any]]:
        """Every row that is there, given out."""
        taken = self.pool.take([key], self.pool.stock(key), self.now)
        assert taken is not None
        codec, inside = self.runtime.release.codec, np.random.default_rng(1)
        tokens = np.frombuffer(b"".join(taken.rows), np.int32).reshape(len(taken.rows), -1)
        return [codec.decode_row(row, inside, COLUMNS) for row in tokens.tolist()]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    folder: Path = tmp_path_factory.mktemp("models")
    make_release(folder)
    return Runtime(load_release(folder, TABLE, 1))


class TestFilling:
    """Rows of the real teacher, as tokens."""

    async def test_whole_rows_before_anybody_asks(self, runtime: Runtime) -> None:
        bench = Bench(runtime, base_rows=20, batch=16)
        made = [await bench.refill.fill() for _ in range(3)]
        assert made == [16, 4, 0]
        rows = bench.rows(bench.key())
        assert [tuple(row) for row in rows] == [COLUMNS] * 20
        assert [(name, v) for row in rows for name, v in row.items() if not allowed(name, v)] == []
        assert len({row["amount"] for row in rows}) > 10
        assert None in {row["channel"] for row in rows}

    async def test_what_is_asked_for_with_what_is_known(self, runtime: Runtime) -> None:
        bench = Bench(runtime, base_rows=0, horizon=10.0)
        known, other = bench.key(items=3, channel=None), bench.key(items=4)
        bench.demand.note(known, 12, now=0.0)
        bench.demand.note(other, 4, now=0.0)
        while await bench.refill.fill():
            pass
        # Twelve in a while with a half-life of 10 s are .83 a second: 8 in 10 s.
        assert (bench.pool.stock(known), bench.pool.stock(other)) == (8, 2)
        taken = bench.pool.take([known], 1, bench.now)
        assert taken is not None
        assert taken.steps == len(COLUMNS) - 2
        rows = bench.rows(known)
        assert [(row["items"], row["channel"]) for row in rows] == [(3, None)] * 7
        assert len({row["amount"] for row in rows}) > 1

    async def test_batches_are_small(self, runtime: Runtime) -> None:
        bench = Bench(runtime, base_rows=100, batch=16)
        while await bench.refill.fill():
            pass
        assert max(bench.submitted) == 16

    async def test_a_full_pool_settles(self, runtime: Runtime) -> None:
        """More is wanted than there is room for: in the end nothing is made and dropped again."""
        bench = Bench(runtime, max_bytes=12_000, base_rows=0)
        for items in range(1, 9):
            bench.demand.note(bench.key(items=items), 2**items, now=0.0)
        fills = 0
        while await bench.refill.fill():
            fills += 1
            assert bench.pool.bytes <= 12_000
            assert fills < 50
        assert bench.pool.stock(bench.key(items=8)) > 0

    async def test_it_rests_as_long_as_it_works(self, runtime: Runtime) -> None:
        bench = Bench(runtime, base_rows=1000, most_share=0.5)
        with pytest.raises(Stopped):
            await bench.refill.run()
        assert bench.pauses == pytest.approx([CONFIG.tick, 0.02, 0.02, 0.02])

    async def test_it_makes_nothing_while_somebody_waits(self, runtime: Runtime) -> None:
        bench = Bench(runtime, base_rows=1000)
        bench.load = replace(IDLE, inside=1)
        with pytest.raises(Stopped):
            await bench.refill.run()
        assert bench.submitted == []
        assert bench.pauses == [CONFIG.tick] * 4

    async def test_while_nobody_asks_it_looks_ever_less_often(self, runtime: Runtime) -> None:
        bench = Bench(runtime, base_rows=0, tick=0.1, longest_tick=0.3)
        with pytest.raises(Stopped):
            await bench.refill.run()
        assert bench.pauses == pytest.approx([0.1, 0.2, 0.3, 0.3])

    async def test_as_soon_as_somebody_asks_it_looks_as_often_as_before(
        self, runtime: Runtime
    ) -> None:
        bench = Bench(runtime, base_rows=0, tick=0.1)
        pause = bench.pause

        async def asked_in_the_second(seconds: float) -> float:
            busy = await pause(seconds)
            if len(bench.pauses) == 2:
                bench.demand.note(bench.key(items=3), 1, bench.now)
                bench.load = replace(IDLE, inside=1)
            return busy

        bench.refill = Refill(
            bench.pool,
            bench.demand,
            {runtime.identity: runtime},
            list,
            bench.draw,
            lambda busy: replace(bench.load, busy=busy),
            RefillConfig(base_rows=0, tick=0.1),
            clock=lambda: bench.now,
            pause=asked_in_the_second,
        )
        with pytest.raises(Stopped):
            await bench.refill.run()
        assert bench.pauses == pytest.approx([0.1, 0.2, 0.1, 0.1])

    async def test_a_teacher_that_fails_is_left_alone_for_a_while(
        self, runtime: Runtime, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench = Bench(runtime, base_rows=1000)
        bench.breaks = RuntimeError("broken")
        with pytest.raises(Stopped):
            await bench.refill.run()
        assert min(bench.pauses[1:]) >= 1.0
        assert "the pool was not refilled" in caplog.text

    async def test_a_teacher_that_is_away_is_no_failure(
        self, runtime: Runtime, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As while a server begins: who started it reads no stack trace for that."""
        bench = Bench(runtime, base_rows=1000)
        bench.breaks = NotReady("the teacher's process is away")
        with pytest.raises(Stopped):
            await bench.refill.run()
        assert min(bench.pauses[1:]) >= 1.0
        assert not caplog.records

    async def test_the_event_loop_gets_its_turns(self, runtime: Runtime) -> None:
        """A real-time request that comes during a fill does not wait for the whole of it."""
        bench = Bench(runtime, base_rows=100)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        await bench.refill.fill()
        beside.cancel()
        # One for the noise of each row.
        assert turns >= 16
