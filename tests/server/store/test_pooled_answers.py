"""Answers from the pool, over gRPC."""

from __future__ import annotations

import math
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_client import Client, Tier
from cascade_proto import synthesis_pb2 as pb
from cascade_server.cascade import probing
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.repository import Repository
from cascade_server.config import ServerConfig
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.shared.live_versions import LiveVersions
from cascade_server.memory import Memory
from cascade_server.objectives.objective import SloConfig
from cascade_server.store.answers import Answers
from cascade_server.store.pool import Key, condition_of, nothing_known
from cascade_server.store.refill import Load, RefillConfig
from prometheus_client.parser import text_string_to_metric_families

from tests.releases import TABLE, make_release
from tests.server.messages import ABSENT, COLUMNS, NULL, allowed, ask, column, read, row, rows
from tests.server.running import Running, running


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Running]:
    """A server whose pool holds whole rows of `payments`."""
    make_release(tmp_path)
    config = ServerConfig(
        repository=tmp_path, port=0, pool_bytes=2**22, cache_bytes=0, metrics_port=0
    )
    with running(config) as server:
        refill(server)
        yield server


def answers(server: Running) -> Answers:
    return server.server.service.answers


def refill(server: Running) -> None:
    """Make every row that is worth making, and from now on only when a test says so."""
    server.server.service.dispatcher.last_offline = math.inf
    pooled = answers(server).pooled
    assert pooled is not None
    found = pooled.refill
    while server.run(found.fill()):
        pass


def hot(server: Running, request: Any, times: int = 8) -> None:
    """Ask for something often, and let the teacher make more of it."""
    for _ in range(times):
        server.stub.Synthesize(request)
    refill(server)


def counts(server: Running) -> Any:
    (found,) = server.stub.GetStatistics(pb.GetStatisticsRequest()).pool.releases
    return found


class TestWhoIsAnswered:
    """Whoever may be given any of the teacher's rows."""

    @pytest.mark.parametrize("fidelity", ["FIDELITY_AUTO", "FIDELITY_FAST", "FIDELITY_FULL"])
    def test_any_fidelity(self, alone: Running, fidelity: Any) -> None:
        answer = alone.stub.Synthesize(ask(fidelity=fidelity))
        provenance = answer.provenance
        assert (provenance.from_pool, provenance.synthetic) == (True, True)
        assert (provenance.tier, provenance.steps) == (pb.TIER_TEACHER, len(COLUMNS))
        assert (provenance.table, provenance.version) == (TABLE, 1)
        found = read(answer.rows)
        assert tuple(found) == COLUMNS
        assert all(allowed(name, values[0]) for name, values in found.items())

    def test_a_hot_condition(self, alone: Running) -> None:
        request = ask(row(items=3, channel=None), columns=["fraud", "items", "channel", "at"])
        assert not alone.stub.Synthesize(request).provenance.from_pool
        hot(alone, request)
        answer = alone.stub.Synthesize(request)
        assert answer.provenance.from_pool
        assert answer.provenance.steps == len(COLUMNS) - 2
        found = read(answer.rows)
        assert tuple(found) == ("fraud", "items", "channel", "at")
        assert (found["items"], found["channel"]) == ([3], [None])
        assert allowed("at", found["at"][0])

    def test_what_is_given_comes_back_to_the_last_bit(self, alone: Running) -> None:
        hot(alone, ask(row(amount=12.345)))
        # The same bin, and so the same rows; not the same number.
        answer = alone.stub.Synthesize(ask(row(amount=12.345000000000001)))
        assert answer.provenance.from_pool
        assert read(answer.rows)["amount"] == [12.345000000000001]

    def test_draws_of_several_rows(self, alone: Running) -> None:
        given = pb.Rows(
            count=3,
            columns=[
                column("channel", ["web", "", ""], states=[0, NULL, ABSENT]),
                column("items", [2, 2, 2]),
            ],
        )
        request = ask(given, draws=4)
        hot(alone, request)
        there = counts(alone).rows
        answer = alone.stub.Synthesize(request)
        assert answer.provenance.from_pool
        assert counts(alone).rows == there - 12
        found = read(answer.rows)
        assert found["items"] == [2] * 12
        assert found["channel"][:8] == ["web"] * 4 + [None] * 4
        assert all(allowed(name, value) for name, values in found.items() for value in values)

    @pytest.mark.parametrize(
        "fields", [{"seed": 1}, {"log_likelihood": True}, {"draws": 65}, {"version": 1, "seed": 0}]
    )
    def test_who_is_not(self, alone: Running, fields: Any) -> None:
        answer = alone.stub.Synthesize(ask(**fields))
        assert not answer.provenance.from_pool
        assert counts(alone).hits + counts(alone).misses == 0

    def test_too_few_rows_are_none(self, alone: Running) -> None:
        there = counts(alone).rows
        assert there == 64
        alone.stub.Synthesize(ask(draws=60))
        answer = alone.stub.Synthesize(ask(draws=64))
        assert not answer.provenance.from_pool
        assert read(answer.rows).keys() == set(COLUMNS)

    def test_everything_known(self, alone: Running) -> None:
        whole = read(alone.stub.Synthesize(ask()).rows)
        request = ask(rows(1, **whole))
        hot(alone, request)
        answer = alone.stub.Synthesize(request)
        assert not answer.provenance.from_pool
        assert read(answer.rows) == whole

    def test_a_bad_request_is_refused_as_ever(self, alone: Running) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            alone.stub.Synthesize(ask(columns=["nope"]))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


class TestRows:
    """Of the teacher, each given once."""

    def test_no_row_is_given_twice(self, alone: Running) -> None:
        assert counts(alone).rows == 64
        given = [alone.stub.Synthesize(ask()) for _ in range(64)]
        assert all(answer.provenance.from_pool for answer in given)
        assert counts(alone).rows == 0
        assert not alone.stub.Synthesize(ask()).provenance.from_pool
        # Two of sixty-four may be alike by chance, most are not.
        assert len({answer.rows.SerializeToString() for answer in given}) > 32

    def test_nothing_computes(self, alone: Running) -> None:
        def runs() -> list[int]:
            found = alone.stub.GetStatistics(pb.GetStatisticsRequest())
            return [engine.runs for engine in found.engines if engine.tier == pb.TIER_STUDENT]

        before = runs()
        for _ in range(20):
            alone.stub.Synthesize(ask(fidelity="FIDELITY_FAST"))
        assert runs() == before

    def test_a_full_server_still_gives_them(self, alone: Running) -> None:
        gate = alone.server.service.dispatcher.gate
        gate.inside = dict.fromkeys(gate.inside, 10**6)
        assert alone.stub.Synthesize(ask()).provenance.from_pool
        with pytest.raises(grpc.RpcError) as caught:
            alone.stub.Synthesize(ask(seed=1))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_without_a_pool_there_is_none(self, serving: Running) -> None:
        assert not serving.stub.Synthesize(ask()).provenance.from_pool
        assert not serving.stub.GetStatistics(pb.GetStatisticsRequest()).HasField("pool")


class TestWhatIsSaid:
    """Provenance, statistics, metrics, objectives."""

    def test_why(self, alone: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        pooled = answers(alone).pooled
        assert pooled is not None
        (engines,) = alone.server.service.dispatcher.engines.values()
        monkeypatch.setattr(pooled.model, "tail", lambda rows: 100e-6)
        monkeypatch.setattr(engines.teacher, "predict", lambda rows, passes: 20e-3)
        monkeypatch.setattr(engines.student, "predict", lambda rows: 1e-3)
        routing = alone.stub.Synthesize(ask(explain=True)).provenance.routing
        found = [(each.tier, each.steps, each.from_pool) for each in routing.considered]
        assert found == [
            (pb.TIER_TEACHER, len(COLUMNS), True),
            (pb.TIER_TEACHER, len(COLUMNS), False),
            (pb.TIER_STUDENT, 1, False),
        ]
        assert "the teacher's rows, made ahead of time" in routing.reason
        assert [each.predicted for each in routing.considered] == [100, 20_000, 1000]

    def test_why_although_it_was_predicted_to_be_late(
        self, alone: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pooled = answers(alone).pooled
        assert pooled is not None
        monkeypatch.setattr(probing, "FIRST_PAUSE", 0.0)
        monkeypatch.setattr(pooled.model, "tail", lambda rows: 100.0)
        # The first is refused by the pool.
        for is_pooled in (False, True):
            made = alone.stub.Synthesize(ask(explain=True), timeout=60).provenance
            assert made.from_pool == is_pooled
        assert made.routing.reason.startswith("tried to see whether the prediction still holds")
        assert "100000.00 ms predicted" in made.routing.reason

    def test_a_pool_without_rows_is_not_considered(self, alone: Running) -> None:
        routing = alone.stub.Synthesize(ask(row(items=3), explain=True)).provenance.routing
        assert [each.from_pool for each in routing.considered] == [False, False]

    def test_the_sdk(self, alone: Running) -> None:
        with Client(alone.target) as client:
            made = client.synthesize(TABLE, {}, explain=True).provenance
        assert (made.from_pool, made.cached, made.tier) == (True, False, Tier.TEACHER)
        assert "from the pool" in str(made)
        assert made.routing is not None
        assert [each.from_pool for each in made.routing.considered] == [True, False, False]

    def test_metrics(self, alone: Running) -> None:
        for request in (ask(), ask(draws=2), ask(row(items=3))):
            alone.stub.Synthesize(request)
        url = f"http://127.0.0.1:{alone.server.sla.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=30) as scraped:
            text = scraped.read().decode()
        samples = {
            (sample.name, sample.labels.get("outcome")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("cascade_pool")
        }
        found = counts(alone)
        assert (found.hits, found.misses) == (2, 1)
        assert samples["cascade_pool_requests_total", "hit"] == 2
        assert samples["cascade_pool_requests_total", "miss"] == 1
        assert samples["cascade_pool_refilled_rows_total", None] == 64
        assert samples["cascade_pool_bytes", None] > 0
        assert samples["cascade_pool_rows", None] == 61
        assert ("cascade_cache_bytes", None) not in samples

    def test_it_counts_as_the_teachers_for_objectives(self, alone: Running) -> None:
        alone.stub.Synthesize(ask(fidelity="FIDELITY_FAST"))
        level = alone.stub.GetServiceLevel(pb.GetServiceLevelRequest())
        assert [(each.tier, each.count) for each in level.latencies] == [(pb.TIER_TEACHER, 1)]


class TestReuse:
    """Rows may be given to more than one request where that was asked for."""

    def test_twice(self, tmp_path: Path) -> None:
        make_release(tmp_path)
        config = ServerConfig(
            repository=tmp_path, port=0, pool_bytes=2**22, cache_bytes=0, pool_max_reuse=2
        )
        with running(config) as server:
            refill(server)
            given = [read(server.stub.Synthesize(ask(draws=64)).rows) for _ in range(2)]
            hits = counts(server).hits
        assert hits == 2
        # The same tokens: of numbers in bins, which are drawn inside of them, the rest differs.
        first, second = (
            sorted(map(str, zip(rows["items"], rows["channel"], rows["fraud"], strict=True)))
            for rows in given
        )
        assert first == second


class TestWhatHoldsItBack:
    """What the refill is told of the rest of the server."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Running]:
        make_release(tmp_path)
        with running(
            ServerConfig(repository=tmp_path, port=0, pool_bytes=2**22, cache_bytes=0)
        ) as server:
            yield server

    def load(self, server: Running, busy: float = 0.0) -> Load:
        async def load() -> Load:
            return answers(server).load(busy)

        return server.run(load())

    def test_an_idle_server(self, server: Running) -> None:
        assert self.load(server, busy=0.25) == Load(0, math.inf, 0.0, 0.25)

    def test_broken_promises(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> str:
            return "full"

        monkeypatch.setattr(server.server.service.dispatcher.gate, "objection", full)
        for _ in range(3):
            with pytest.raises(grpc.RpcError):
                server.stub.Synthesize(ask())
        # Whatever was looked up before the first of them may hold for a while.
        answers(server).burn_until = 0.0
        assert self.load(server).burn > 1

    def test_offline_work(self, server: Running) -> None:
        list(server.stub.Generate(pb.GenerateRequest(table=TABLE, count=10)))
        assert 0 <= self.load(server).since_offline < math.inf

    def test_requests_inside(self, server: Running) -> None:
        gate = server.server.service.dispatcher.gate
        gate.inside = dict.fromkeys(gate.inside, 2)
        assert self.load(server).inside == 4


async def test_after_a_promotion_rows_are_made_of_who_answers_then(repository: Path) -> None:
    """And none any more of who did before."""
    live = LiveVersions([TABLE], Memory())
    live.put(TABLE, 1, canary=3, share=0.05)
    config = ServerConfig(repository=repository, pool_bytes=2**22, cache_bytes=0)
    wanted = {TABLE: [1, 3]}
    found = Repository.load(repository, 1, lambda _: None, wanted=wanted, live_versions=live)
    ledger = Ledger(SloConfig(objectives=()), [TABLE])
    dispatcher = Dispatcher(found, config, ledger.report)
    pooled = Answers(dispatcher, found, config, ledger).pooled
    assert pooled is not None

    async def made() -> list[int]:
        """Rows that each version has been made, and has."""
        while await pooled.refill.fill():
            pass
        counts = pooled.statistics().releases
        return [counts[found.find(TABLE, version).identity].refilled_rows for version in (1, 3)]

    try:
        assert await made() == [RefillConfig.base_rows, 0]
        live.put(TABLE, 3)
        assert await made() == [RefillConfig.base_rows] * 2
        first = found.find(TABLE, 1).identity
        key = Key(first, condition_of(*nothing_known(found.find(TABLE, 1).slots)))
        assert pooled.pool.take([key], RefillConfig.base_rows, pooled._clock()) is not None
        assert await made() == [RefillConfig.base_rows] * 2
    finally:
        dispatcher.close()
