"""The scoring service of the examples: what it does when lookups, or Cascade, are late."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_client import AsyncClient, Overloaded
from cascade_client.testing import FakeServer
from cascade_server.config import ServerConfig

from examples.fraud_scoring.__main__ import scored
from examples.fraud_scoring.lookups import LOOKED_UP, LOOKUPS, FeatureStore
from examples.fraud_scoring.model import TABLE, TARGET, ScoringModel, bundled
from examples.fraud_scoring.service import Budget, Scorer, ScoringClient, serving
from tests.server.running import Running, running

ROOT = Path(__file__).parents[2]
# Nothing here depends on the machine's speed; lookups that are late never answer at all.
PATIENT = Budget(whole=60.0, lookups=0.01)
ROWS = bundled("test")[:20]
GIVEN = [
    {name: value for name, value in row.items() if name not in LOOKED_UP and name != TARGET}
    for row in ROWS
]


@pytest.fixture(scope="module")
def model() -> ScoringModel:
    return ScoringModel(bundled("train")[:2000], trees=20)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(ServerConfig(repository=ROOT / "model_repository", port=0)) as server:
        yield server


def store(late_share: float) -> FeatureStore:
    return FeatureStore(ROWS, late_share, random.Random(0))


class TestAgainstAServer:
    async def test_what_is_late_is_drawn(self, server: Running, model: ScoringModel) -> None:
        async with AsyncClient(server.target) as client:
            found = await Scorer(model, store(1.0), client, budget=PATIENT).score(0, GIVEN[0])
        assert (found.filled_by, found.reason) == ("cascade", "")
        assert set(found.late) == set(LOOKED_UP)
        # Most draws may have one score, and a few that differ take the mean beyond their middle.
        assert 0 < found.low <= found.high < 1
        assert 0 < found.score < 1

    def test_the_whole_example(
        self,
        server: Running,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        scored(server.target, 100, 0, tmp_path / "new" / "plot.png", trees=10)
        said = capsys.readouterr().out
        assert (tmp_path / "new" / "plot.png").read_bytes().startswith(b"\x89PNG")
        for name in ("Cascade, 32 draws", "medians", "XGBoost's own handling", "nothing late"):
            assert name in said
        assert "of 100 transactions had something late" in said


class TestWithoutOne:
    """A server that is a Python object."""

    async def scored(self, fake: FakeServer, model: ScoringModel, late_share: float) -> Any:
        async with fake.async_client() as client:
            scorer = Scorer(model, store(late_share), client, budget=PATIENT)
            return await scorer.score(0, GIVEN[0])

    async def test_where_nothing_is_late_nobody_is_asked(self, model: ScoringModel) -> None:
        fake = FakeServer({TABLE: ROWS})
        found = await self.scored(fake, model, 0.0)
        assert (found.filled_by, found.late) == ("nothing", ())
        assert found.score == found.low == found.high == pytest.approx(model.scores(ROWS[:1])[0])
        assert not fake.asked

    async def test_where_cascade_refuses_medians_stand_in(self, model: ScoringModel) -> None:
        fake = FakeServer({TABLE: ROWS})
        fake.refuse(Overloaded("too much to do"), times=100)
        found = await self.scored(fake, model, 1.0)
        assert (found.filled_by, found.reason) == ("medians", "too much to do")
        assert found.score == pytest.approx(model.scores([model.with_medians(GIVEN[0])])[0])

    async def test_where_cascade_is_late_they_do_too(self, model: ScoringModel) -> None:
        fake = FakeServer({TABLE: ROWS})
        fake.slow(seconds=100)
        found = await self.scored(fake, model, 1.0)
        assert found.filled_by == "medians"

    async def test_a_lookup_that_fails_is_late(self, model: ScoringModel) -> None:
        class Broken(FeatureStore):
            async def look_up(self, lookup: str, transaction: int) -> dict[str, Any]:
                if lookup == "limit":
                    raise ConnectionError("gone")
                return await super().look_up(lookup, transaction)

        async with FakeServer({TABLE: ROWS}).async_client() as client:
            broken = Broken(ROWS, 0.0, random.Random(0))
            found = await Scorer(model, broken, client, budget=PATIENT).score(0, GIVEN[0])
        assert found.late == LOOKUPS["limit"]
        assert found.filled_by == "cascade"

    async def test_over_grpc(self, model: ScoringModel) -> None:
        async with (
            FakeServer({TABLE: ROWS}).async_client() as client,
            serving(Scorer(model, store(1.0), client, budget=PATIENT)) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            found = await ScoringClient(channel).score(3, GIVEN[3])
        assert found["filled_by"] == "cascade"
        assert set(found["late"]) == set(LOOKED_UP)
        assert 0 < found["score"] < 1
