"""What is predicted to be late is tried now and then: no wrong prediction stands for ever."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.cascade import probing
from cascade_server.cascade.probing import FIRST_PAUSE, FORGOTTEN, LONGEST_PAUSE, Probing
from cascade_server.cascade.router import Option, choose
from cascade_server.config import ServerConfig
from cascade_server.terms import Tier, Wanted

from tests.releases import make_release
from tests.server.messages import ask
from tests.server.running import Running, running


def tries(found: Probing, kind: str, now: float) -> bool:
    """One that is predicted to take twice what it has left."""
    return found.tries(kind, now, 0.2, 0.1)


class TestWhoIsTried:
    """Of a kind that was refused, at a clock's times."""

    def test_nobody_at_first(self) -> None:
        found = Probing()
        assert not tries(found, "many rows", 100.0)
        assert not tries(found, "many rows", 100.0 + 0.99 * FIRST_PAUSE)

    def test_one_after_a_while(self) -> None:
        found = Probing()
        tries(found, "many rows", 100.0)
        assert tries(found, "many rows", 100.0 + FIRST_PAUSE)
        assert not tries(found, "many rows", 100.0 + FIRST_PAUSE)
        assert not tries(found, "few rows", 100.0 + FIRST_PAUSE)

    def test_the_next_at_once_where_that_was_in_time(self) -> None:
        found = Probing()
        now = 100.0 + FIRST_PAUSE
        tries(found, "many rows", 100.0)
        for _ in range(10):
            assert tries(found, "many rows", now)
            found.ended("many rows", now, in_time=True)

    def test_ever_fewer_where_it_was_late(self) -> None:
        found = Probing()
        times = []
        for number in range(4000):
            now = 100.0 + 0.1 * number
            if tries(found, "many rows", now):
                times.append(now)
                found.ended("many rows", now, in_time=False)
        gaps = [later - sooner for sooner, later in pairwise(times)]
        assert gaps == sorted(gaps)
        assert gaps[-1] == pytest.approx(LONGEST_PAUSE, abs=0.2)

    def test_another_even_if_nothing_is_heard_of_it(self) -> None:
        found = Probing()
        tries(found, "many rows", 100.0)
        assert tries(found, "many rows", 200.0)
        assert not tries(found, "many rows", 300.0)
        assert tries(found, "many rows", 301.0)

    def test_hardly_any_of_those_that_are_rare_and_late(self) -> None:
        found, tried = Probing(), 0
        for number in range(1000):
            now = 120.0 * number
            if tries(found, "many rows", now):
                tried += 1
                found.ended("many rows", now + 1, in_time=False)
        assert 0 < tried < 1000 / 16

    def test_nobody_who_has_far_too_little_time(self) -> None:
        found = Probing()
        for number in range(1000):
            assert not found.tries("many rows", 120.0 * number, 8.0, 0.05)
            assert not found.tries("many rows", 120.0 * number, 8.0, -0.05)

    def test_who_has_far_too_little_time_takes_no_trial_from_others(self) -> None:
        found = Probing()
        tries(found, "many rows", 100.0)
        assert not found.tries("many rows", 100.0 + FIRST_PAUSE, 8.0, 0.001)
        assert tries(found, "many rows", 100.0 + FIRST_PAUSE)

    def test_an_old_refusal_is_forgotten(self) -> None:
        found = Probing()
        tries(found, "many rows", 100.0)
        now = 100.0 + FORGOTTEN
        assert not tries(found, "many rows", now)
        assert tries(found, "many rows", now + FIRST_PAUSE)

    def test_releases_that_are_gone_are_forgotten(self) -> None:
        found = Probing()
        for number in range(100):
            tries(found, f"release {number}", 100.0 + number)
        assert len(found) == 100
        tries(found, "release 7", 300.0)
        tries(found, "release 100", 100.0 + 50 + FORGOTTEN)
        # Numbers 51 to 99 and 100, and the seventh.
        assert len(found) == 51

    def test_a_trial_may_end_when_its_kind_is_forgotten(self) -> None:
        found = Probing()
        tries(found, "many rows", 100.0)
        assert tries(found, "many rows", 200.0)
        tries(found, "few rows", 200.0 + FORGOTTEN)
        found.ended("many rows", 201.0 + FORGOTTEN, in_time=True)


def test_an_answer_says_that_it_was_tried() -> None:
    route = choose((Option(Tier.STUDENT, 1, 0.5),), 0.1, Wanted.FAST)
    assert route.option is None
    tried = route._replace(option=route.cheapest, probing=True)
    assert tried.reason == (
        "tried to see whether the prediction still holds; 500.00 ms predicted, 100.00 ms left"
    )


class TestServer:
    """A real one, of which something was learnt that is not so."""

    @pytest.fixture
    def server(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
        monkeypatch.setattr(probing, "FIRST_PAUSE", 0.0)
        make_release(tmp_path)
        config = ServerConfig(repository=tmp_path, port=0, pool_bytes=0, cache_bytes=0)
        with running(config) as server:
            yield server

    @pytest.mark.parametrize("draws", [1, 100])
    @pytest.mark.parametrize("tier", [pb.TIER_STUDENT, pb.TIER_TEACHER])
    def test_who_was_refused_by_mistake_is_answered_soon(
        self, server: Running, tier: Any, draws: int
    ) -> None:
        (engines,) = server.server.service.dispatcher.engines.values()
        network = engines.student if tier == pb.TIER_STUDENT else engines.teacher.engine
        for _ in range(5000):
            for rows in (1, draws):
                network.model.observe(rows, 100.0)
        mode = "FIDELITY_FAST" if tier == pb.TIER_STUDENT else "FIDELITY_FULL"
        with pytest.raises(grpc.RpcError) as refused:
            server.stub.Synthesize(ask(draws=draws, fidelity=mode), timeout=60)
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        for _ in range(2):
            answer = server.stub.Synthesize(ask(draws=draws, fidelity=mode), timeout=60)
            assert answer.provenance.tier == tier
        assert network.predict(draws, 1) < 60
