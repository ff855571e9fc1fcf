"""Answers to requests with a seed, kept and shared, over gRPC."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_client import Client
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError
from cascade_server.store.second_level import PREFIX
from prometheus_client.parser import text_string_to_metric_families

from tests.releases import TABLE, make_release
from tests.server.messages import ask, read, row
from tests.server.running import Running, running
from tests.server.store.valkey import Valkey, valkey

FIDELITIES = ["FIDELITY_AUTO", "FIDELITY_FAST", "FIDELITY_FULL"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    make_release(folder)
    return folder


@pytest.fixture
def alone(models: Path) -> Iterator[Running]:
    """A server of its own with a cache, and no pool."""
    config = ServerConfig(
        repository=models, port=0, pool_bytes=0, cache_bytes=2**20, metrics_port=0
    )
    with running(config) as server:
        yield server


def statistics(server: Running) -> Any:
    return server.stub.GetStatistics(pb.GetStatisticsRequest()).cache


def rows_run(server: Running) -> int:
    found = server.stub.GetStatistics(pb.GetStatisticsRequest())
    return sum(engine.rows for engine in found.engines)


class TestAgain:
    """Equal requests with equal seeds."""

    @pytest.mark.parametrize("fidelity", FIDELITIES)
    def test_are_answered_without_a_draw(self, alone: Running, fidelity: Any) -> None:
        request = ask(row(items=3), seed=7, draws=3, fidelity=fidelity, log_likelihood=True)
        first = alone.stub.Synthesize(request)
        ran = rows_run(alone)
        again = alone.stub.Synthesize(request)
        assert rows_run(alone) == ran
        assert again.rows == first.rows
        assert again.log_likelihood == first.log_likelihood
        told = first.provenance, again.provenance
        assert [each.cached for each in told] == [False, True]
        assert told[0].tier == told[1].tier
        assert told[0].seed == told[1].seed == 7

    def test_are_equal_however_they_are_written(self, alone: Running) -> None:
        one = alone.stub.Synthesize(ask(row(items=3, channel="web"), seed=1))
        other = alone.stub.Synthesize(ask(row(channel="web", items=3), seed=1, draws=1))
        assert other.provenance.cached
        assert other.rows.columns == one.rows.columns

    def test_are_what_a_server_without_a_cache_answers(
        self, alone: Running, serving: Running
    ) -> None:
        full = pb.FIDELITY_FULL
        request = ask(row(items=3), seed=5, draws=9, version=1, fidelity=full)
        for _ in range(2):
            cached = alone.stub.Synthesize(request)
        assert cached.provenance.cached
        fresh = serving.stub.Synthesize(request)
        assert cached.rows == fresh.rows

    def test_another_seed_is_drawn(self, alone: Running) -> None:
        answers = [alone.stub.Synthesize(ask(draws=8, seed=seed)) for seed in (1, 2)]
        assert not answers[1].provenance.cached
        assert answers[0].rows != answers[1].rows

    def test_what_was_given_is_this_ones(self, alone: Running) -> None:
        """Equal tokens are not equal requests."""
        alone.stub.Synthesize(ask(row(amount=12.345), seed=1))
        other = alone.stub.Synthesize(ask(row(amount=12.345000000000001), seed=1))
        assert read(other.rows)["amount"] == [12.345000000000001]

    @pytest.mark.parametrize("fields", [{}, {"draws": 1100, "seed": 1}])
    def test_without_a_seed_or_very_large_never(self, alone: Running, fields: Any) -> None:
        for _ in range(2):
            assert not alone.stub.Synthesize(ask(**fields)).provenance.cached
        assert statistics(alone) == pb.CacheStatistics()

    def test_without_a_cache_there_is_none(self, serving: Running) -> None:
        for _ in range(2):
            assert not serving.stub.Synthesize(ask(seed=1)).provenance.cached
        assert not serving.stub.GetStatistics(pb.GetStatisticsRequest()).HasField("cache")

    def test_refusals_are_not_kept(self, alone: Running) -> None:
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as caught:
                alone.stub.Synthesize(ask(seed=1, timeout_microseconds=1))
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert not alone.stub.Synthesize(ask(seed=1)).provenance.cached


class TestTiers:
    """The tier that draws is part of what is asked for; AUTO takes the better that is there."""

    def test_fast_and_full_do_not_share(self, alone: Running) -> None:
        full = alone.stub.Synthesize(ask(seed=1, fidelity="FIDELITY_FULL"))
        fast = alone.stub.Synthesize(ask(seed=1, fidelity="FIDELITY_FAST"))
        assert (full.provenance.tier, fast.provenance.tier) == (pb.TIER_TEACHER, pb.TIER_STUDENT)
        assert not fast.provenance.cached

    def test_auto_is_given_the_teachers_however_little_time_is_left(self, alone: Running) -> None:
        (engines,) = alone.server.service.dispatcher.engines.values()
        for _ in range(5000):
            engines.teacher.engine.model.observe(1, 60.0)
        hurried = {"seed": 1, "timeout_microseconds": 30_000_000}
        student = alone.stub.Synthesize(ask(**hurried))
        full = alone.stub.Synthesize(ask(seed=1, fidelity="FIDELITY_FULL"))
        again = alone.stub.Synthesize(ask(**hurried))
        assert student.provenance.tier == pb.TIER_STUDENT
        assert (again.provenance.tier, again.provenance.cached) == (pb.TIER_TEACHER, True)
        assert again.rows == full.rows

    def test_auto_and_fast_share_the_students(self, alone: Running) -> None:
        (engines,) = alone.server.service.dispatcher.engines.values()
        for _ in range(5000):
            engines.teacher.engine.model.observe(1, 60.0)
        alone.stub.Synthesize(ask(seed=1, fidelity="FIDELITY_FAST"))
        auto = alone.stub.Synthesize(ask(seed=1, timeout_microseconds=30_000_000))
        assert auto.provenance.cached

    def test_full_is_answered_though_a_draw_would_be_late(self, alone: Running) -> None:
        (engines,) = alone.server.service.dispatcher.engines.values()
        alone.stub.Synthesize(ask(seed=1, fidelity="FIDELITY_FULL"))
        for _ in range(5000):
            engines.teacher.engine.model.observe(1, 60.0)
        hurried = ask(seed=1, fidelity="FIDELITY_FULL", timeout_microseconds=30_000_000)
        assert alone.stub.Synthesize(hurried).provenance.cached


class TestWhatIsSaid:
    """Provenance, statistics, metrics."""

    def test_why_and_how_long(self, alone: Running) -> None:
        alone.stub.Synthesize(ask(seed=1, explain=True))
        provenance = alone.stub.Synthesize(ask(seed=1, explain=True)).provenance
        assert "an equal request with this seed" in provenance.routing.reason
        assert len(provenance.routing.considered) == 2
        assert not alone.stub.Synthesize(ask(seed=1)).provenance.HasField("routing")
        assert provenance.timings.queue == 0
        assert provenance.timings.encode > 0

    def test_the_sdk(self, alone: Running) -> None:
        with Client(alone.target) as client:
            made = [client.synthesize(TABLE, {"items": 3}, seed=1).provenance for _ in range(2)]
        assert [each.cached for each in made] == [False, True]
        assert "seed 1 · cached" in str(made[1])

    def test_metrics(self, alone: Running) -> None:
        for seed in (1, 1, 2, 1):
            alone.stub.Synthesize(ask(seed=seed))
        url = f"http://127.0.0.1:{alone.server.sla.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=30) as scraped:
            text = scraped.read().decode()
        samples = {
            (sample.name, sample.labels.get("outcome")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert samples["cascade_cache_requests_total", "hit"] == 2
        assert samples["cascade_cache_requests_total", "miss"] == 2
        assert samples["cascade_cache_requests_total", "joined"] == 0
        assert samples["cascade_cache_entries", None] == 2
        assert samples["cascade_cache_bytes", None] == statistics(alone).bytes > 0
        assert ("cascade_pool_bytes", None) not in samples


class TestACrowd:
    """Equal requests at once are drawn for once."""

    @pytest.fixture(autouse=True)
    def held(self, alone: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is drawn before `go`."""
        dispatcher, self.may_go, self.drawing = alone.server.service.dispatcher, asyncio.Event(), 0
        draw = dispatcher.draw

        async def held(*job: Any) -> Any:
            self.drawing += 1
            await self.may_go.wait()
            return await draw(*job)

        monkeypatch.setattr(dispatcher, "draw", held)

    def go(self, alone: Running) -> None:
        alone.loop.call_soon_threadsafe(self.may_go.set)

    def settled(self, alone: Running, drawing: int, waiting: int) -> None:
        """Until so many have begun to draw, and so many wait for them."""

        async def wait() -> None:
            cached = alone.server.service.answers.cached
            assert cached is not None
            flights = cached.flights
            while (self.drawing, flights.waiting) != (drawing, waiting):
                await asyncio.sleep(0)

        alone.run(wait())

    def test_one_draw(self, alone: Running) -> None:
        request = ask(seed=1, draws=5, fidelity="FIDELITY_FULL")
        with ThreadPoolExecutor(8) as crowd:
            futures = [crowd.submit(alone.stub.Synthesize, request) for _ in range(8)]
            self.settled(alone, drawing=1, waiting=7)
            self.go(alone)
            found = [future.result() for future in futures]
        assert len({answer.rows.SerializeToString() for answer in found}) == 1
        assert sorted(answer.provenance.cached for answer in found) == [False] + [True] * 7
        told = statistics(alone)
        assert (told.misses, told.joined, told.hits) == (1, 7, 0)

    def test_one_that_hangs_up_does_not_fail_the_others(self, alone: Running) -> None:
        request = ask(seed=1, draws=5, fidelity="FIDELITY_FULL")
        first = alone.stub.Synthesize.future(request)
        self.settled(alone, drawing=1, waiting=0)
        with ThreadPoolExecutor(4) as crowd:
            futures = [crowd.submit(alone.stub.Synthesize, request) for _ in range(4)]
            self.settled(alone, drawing=1, waiting=4)
            first.cancel()
            self.settled(alone, drawing=2, waiting=3)
            self.go(alone)
            found = [future.result() for future in futures]
        assert len({answer.rows.SerializeToString() for answer in found}) == 1
        assert sum(answer.provenance.cached for answer in found) == 3


@pytest.fixture
def server() -> Iterator[Valkey]:
    with valkey() as found:
        yield found


class TestShared:
    """A second level that servers share; requests go on without it."""

    def serve(self, models: Path, url: str, patience: float = 20.0) -> Any:
        """A server that gives the second level as long as a busy machine needs."""
        return running(
            ServerConfig(
                repository=models,
                port=0,
                pool_bytes=0,
                cache_bytes=2**20,
                cache_url=url,
                cache_timeout_seconds=patience,
            )
        )

    def written(self, server: Running) -> Any:
        """Its second level, once nothing is underway."""
        cached = server.server.service.answers.cached
        assert cached is not None
        level = cached.second_level
        assert level is not None

        async def wait() -> None:
            while level.underway:
                await asyncio.sleep(0)

        server.run(wait())
        return level

    def test_one_server_draws_for_all(self, models: Path, server: Valkey) -> None:
        with self.serve(models, server.url) as one, self.serve(models, server.url) as other:
            first = one.stub.Synthesize(ask(seed=1, draws=4))
            self.written(one)
            again = other.stub.Synthesize(ask(seed=1, draws=4))
            third = other.stub.Synthesize(ask(seed=1, draws=4))
            told = statistics(other)
        assert again.rows == third.rows == first.rows
        assert (again.provenance.cached, third.provenance.cached) == (True, True)
        assert (told.second_level_hits, told.hits, told.misses) == (1, 1, 0)

    def test_it_is_never_asked_for_what_has_no_seed(self, models: Path, server: Valkey) -> None:
        with self.serve(models, server.url) as one:
            one.stub.Synthesize(ask())
            assert server.ask(b"INFO", b"commandstats").count(b"cmdstat_get") == 0
            assert server.ask(b"DBSIZE") == b":0\r\n"

    def test_garbage_is_drawn_again_and_overwritten(self, models: Path, server: Valkey) -> None:
        # Which tier is quick enough the server decides anew each time, unless it is told.
        asked = ask(seed=1, draws=4, fidelity=pb.FIDELITY_FULL)
        with self.serve(models, server.url) as one:
            first = one.stub.Synthesize(asked)
            self.written(one)
        (name,) = [word for word in server.ask(b"KEYS", b"*").split() if PREFIX.encode() in word]
        server.ask(b"SET", name, b"garbage")
        with self.serve(models, server.url) as other:
            again = other.stub.Synthesize(asked)
            told = statistics(other)
            self.written(other)
        assert (again.rows, again.provenance.cached) == (first.rows, False)
        assert told.second_level_failures["corrupt"] == 1
        with self.serve(models, server.url) as third:
            assert third.stub.Synthesize(asked).provenance.cached

    def test_what_is_sealed_but_no_answer_is_drawn_again(
        self, models: Path, server: Valkey
    ) -> None:
        """As another version of the server might have written it."""
        with self.serve(models, server.url) as one:
            one.stub.Synthesize(ask(seed=1))
            level = self.written(one)
            (name,) = [w for w in server.ask(b"KEYS", b"*").split() if PREFIX.encode() in w]
            key = bytes.fromhex(name.decode().removeprefix(PREFIX))
            one.loop.call_soon_threadsafe(level.put, key, b"\xff\xff not a message")
            self.written(one)
        with self.serve(models, server.url) as other:
            assert not other.stub.Synthesize(ask(seed=1)).provenance.cached
            assert statistics(other).second_level_failures["corrupt"] == 1

    def test_slow(self, models: Path, server: Valkey) -> None:
        server.freeze()
        with self.serve(models, server.url, patience=0.005) as one:
            for seed in range(8):
                assert one.stub.Synthesize(ask(seed=seed)).rows.count == 1
            failures = statistics(one).second_level_failures
        assert failures["timeout"] >= 1
        assert failures["open"] >= 1

    def test_down(self, models: Path, server: Valkey) -> None:
        with self.serve(models, server.url) as one:
            server.kill()
            answers = [one.stub.Synthesize(ask(seed=seed % 2)) for seed in range(6)]
            failures = statistics(one).second_level_failures
        assert [answer.provenance.cached for answer in answers] == [False] * 2 + [True] * 4
        assert failures["error"] >= 1

    def test_a_url_that_is_none_is_said_at_once(self, models: Path) -> None:
        config = ServerConfig(repository=models, port=0, cache_url="http://somewhere")
        with pytest.raises(ConfigError, match="cache_url is 'http://somewhere'"), running(config):
            pass
