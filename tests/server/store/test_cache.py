"""Answers that are kept, what they are kept by, and one draw for many equal requests."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.cascade.request import check
from cascade_server.deadline import Work
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import DeadlinePassed, TooMuch
from cascade_server.store.cache import ENTRY_OVERHEAD, Cache, CacheConfig, Flights, Keys, Made
from cascade_server.terms import Tier
from cascade_server.wire.synthesis_request import read_request
from cascade_tables import load_release

from tests.releases import TABLE, make_release
from tests.server.messages import ABSENT, ask, column, row

K = [bytes([i]) * 32 for i in range(9)]
ENTRY = 32 + 10 + ENTRY_OVERHEAD


class TestKeeping:
    """Bounded in bytes and in age; the least recently used go first."""

    def test_what_was_put_is_there(self) -> None:
        cache = Cache(CacheConfig(10**6))
        cache.put(K[0], b"answer", made=0.0)
        assert cache.get(K[0], now=1.0) == b"answer"
        assert cache.get(K[1], now=1.0) is None

    def test_the_least_recently_used_go(self) -> None:
        cache = Cache(CacheConfig(9 * ENTRY - 1))
        for key in K[:8]:
            cache.put(key, bytes(10), made=0.0)
        assert cache.get(K[0], now=0.0) is not None
        cache.put(K[8], bytes(10), made=0.0)
        assert [key for key in K if cache.get(key, 0.0) is None] == [K[1]]
        assert (len(cache), cache.bytes, cache.evicted) == (8, 8 * ENTRY, 1)

    def test_too_old_is_gone(self) -> None:
        cache = Cache(CacheConfig(10**6, max_age=10.0))
        cache.put(K[0], bytes(10), made=0.0)
        assert cache.get(K[0], now=10.0) is not None
        assert cache.get(K[0], now=10.1) is None
        assert (len(cache), cache.bytes) == (0, 0)

    def test_putting_again_replaces(self) -> None:
        cache = Cache(CacheConfig(10**6, max_age=10.0))
        cache.put(K[0], b"old", made=0.0)
        cache.put(K[0], b"newer", made=8.0)
        assert cache.get(K[0], now=15.0) == b"newer"
        assert cache.bytes == 32 + 5 + ENTRY_OVERHEAD

    def test_one_answer_does_not_push_out_all_others(self) -> None:
        cache = Cache(CacheConfig(10 * ENTRY))
        cache.put(K[0], bytes(10), made=0.0)
        cache.put(K[1], bytes(5 * ENTRY), made=0.0)
        assert cache.get(K[0], now=0.0) is not None
        assert cache.get(K[1], now=0.0) is None

    def test_a_cache_of_no_bytes_keeps_nothing(self) -> None:
        cache = Cache(CacheConfig(0))
        cache.put(K[0], b"answer", made=0.0)
        assert cache.get(K[0], now=0.0) is None


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Runtime, Runtime]:
    folder: Path = tmp_path_factory.mktemp("models")
    make_release(folder)
    make_release(folder, version=2, seed=1)
    return (Runtime(load_release(folder, TABLE, 1)), Runtime(load_release(folder, TABLE, 2)))


class TestKeys:
    """Equal where answers are, and different where they are not."""

    @pytest.fixture(autouse=True)
    def given(self, runtimes: tuple[Runtime, Runtime]) -> None:
        self.runtime, self.other = runtimes

    def key(
        self, request: Any, tier: Tier = Tier.STUDENT, steps: int = 1, other: bool = False
    ) -> bytes:
        runtime = self.other if other else self.runtime
        read = read_request(request, runtime.fields)
        checked = check(read, runtime, Work.from_remaining(None), 1000)
        return Keys(checked).drawn_by(tier, steps)

    def test_of_equal_requests(self) -> None:
        one = self.key(ask(row(items=3, channel=None), seed=1))
        nulls = pb.Rows(
            count=1,
            columns=[
                pb.Column(name="channel", states=b"\1"),
                pb.Column(name="at", states=bytes([ABSENT])),
                column("items", [3]),
            ],
        )
        again = ask(nulls, seed=1, draws=1, explain=True, timeout_microseconds=10**9)
        again.fidelity = pb.FIDELITY_FULL
        assert self.key(again) == one

    def test_what_an_answer_depends_on(self) -> None:
        requests = [
            ask(row(items=3), seed=1),
            ask(row(items=4), seed=1),
            ask(row(items=3), seed=2),
            ask(row(items=3), seed=1, draws=2),
            ask(row(items=3), seed=1, columns=["at", "fraud"]),
            ask(row(items=3), seed=1, columns=["fraud", "at"]),
            ask(row(items=3), seed=1, log_likelihood=True),
            ask(row(items=3, channel="web"), seed=1),
            ask(row(items=3, channel=None), seed=1),
            ask(row(amount=0.1 + 0.2), seed=1),
            ask(row(amount=0.3), seed=1),
            ask(seed=1),
        ]
        keys = [self.key(request) for request in requests]
        keys += [self.key(requests[0], Tier.TEACHER, 5), self.key(requests[0], Tier.TEACHER, 6)]
        keys.append(self.key(requests[0], other=True))
        assert len(set(keys)) == len(keys)


class TestOneDrawForAll:
    """Concurrent equal requests are drawn for once; each goes on without the others."""

    async def settled(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    @pytest.fixture(autouse=True)
    def given(self) -> None:
        self.flights = Flights()
        self.made, self.is_stand_in = 0, False
        self.may_end = asyncio.Event()
        self.errors: list[BaseException] = []

    async def make(self) -> Made:
        self.made += 1
        await self.may_end.wait()
        if self.errors:
            raise self.errors.pop(0)
        return Made(b"answer", self.is_stand_in)

    def ask(
        self, key: bytes = K[0], remaining: float = math.inf, takes_stand_in: bool = False
    ) -> asyncio.Task[Any]:
        asked = self.flights.once(key, self.make, lambda: remaining, takes_stand_in)
        return asyncio.create_task(asked)

    async def test_the_first_draws(self) -> None:
        asked = [self.ask() for _ in range(5)]
        await self.settled()
        self.may_end.set()
        found = await asyncio.gather(*asked)
        assert found == [(b"answer", False)] + [(b"answer", True)] * 4
        assert self.made == 1

    async def test_afterwards_it_is_drawn_anew(self) -> None:
        self.may_end.set()
        await self.ask()
        assert await self.ask() == (b"answer", False)

    async def test_another_key_does_not_wait(self) -> None:
        asked = [self.ask(K[0]), self.ask(K[1])]
        await self.settled()
        assert self.made == 2
        self.may_end.set()
        await asyncio.gather(*asked)

    async def test_if_the_first_hangs_up_the_next_draws(self) -> None:
        first, second, third = self.ask(), self.ask(), self.ask()
        await self.settled()
        first.cancel()
        await self.settled()
        assert self.made == 2
        self.may_end.set()
        assert await second == (b"answer", False)
        assert await third == (b"answer", True)
        assert first.cancelled()

    async def test_if_one_that_waits_hangs_up_nobody_else_does(self) -> None:
        first, second, third = self.ask(), self.ask(), self.ask()
        await self.settled()
        second.cancel()
        await self.settled()
        self.may_end.set()
        assert (await first, await third) == ((b"answer", False), (b"answer", True))
        assert self.made == 1

    async def test_an_error_is_only_the_firsts(self) -> None:
        self.errors = [TooMuch("full", 5)]
        first, second = self.ask(), self.ask()
        await self.settled()
        self.may_end.set()
        with pytest.raises(TooMuch):
            await first
        assert await second == (b"answer", False)

    async def test_who_takes_a_stand_in_has_it_and_the_others_draw(self) -> None:
        self.is_stand_in = True
        first, content, full, fuller = (
            self.ask(takes_stand_in=each) for each in (True, True, False, False)
        )
        await self.settled()
        self.may_end.set()
        assert await first == (b"answer", False)
        assert await content == (b"answer", True)
        await asyncio.gather(full, fuller)
        assert self.made == 3

    async def test_nobody_waits_longer_than_their_deadline(self) -> None:
        first, hurried = self.ask(), self.ask(remaining=0.0)
        with pytest.raises(DeadlinePassed, match="while an equal request was drawn"):
            await hurried
        self.may_end.set()
        assert await first == (b"answer", False)
