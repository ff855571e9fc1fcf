"""What is typed in a notebook, against real servers: the test's own, and one that an estimator
starts for a table which it has learnt."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cascade_client import AsyncClient, Client
from cascade_client.sklearn import CascadeImputer, LearntTable, LocalLearner

from tests.integration.serving import serve
from tests.releases import TABLE, make_release, payments

# What an estimator learns here is nothing; that it can learn is tested where that is learnt.
HARDLY = LocalLearner(steps=1, teacher_rows=64, threads=1)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("model_repository")
    make_release(folder)
    state = str(tmp_path_factory.mktemp("state"))
    with serve("--repository", str(folder), "--state-dir", state) as served:
        yield served.target


def holed(rows: int) -> pd.DataFrame:
    frame = payments(rows).to_pandas()
    rng = np.random.default_rng(1)
    return frame.mask(rng.random(frame.shape) < 0.3)


class TestServer:
    """A server with a release of a table."""

    def test_holes_are_filled(self, target: str) -> None:
        frame = holed(500).set_index(pd.Index([f"p{row}" for row in range(500)]))
        with Client(target) as client:
            answer = client.complete(frame, draws=2, seed=1)
            again = client.complete(frame, draws=2, seed=1)
        assert len(answer.data) == 1000
        assert not answer.data.isna().any().any()
        assert answer.data.equals(again.data)
        assert answer.mean().index.equals(frame.index)

    async def test_the_same_with_asyncio(self, target: str) -> None:
        frame = holed(100)
        async with AsyncClient(target) as client:
            awaited = await client.complete(frame, seed=1)
        with Client(target) as client:
            assert awaited.data.equals(client.complete(frame, seed=1).data)

    def test_classes_are_balanced(self, target: str) -> None:
        frame = payments(200).to_pandas()
        name = next(each for each in frame if 2 <= frame[each].nunique() <= 5)
        with Client(target) as client:
            answer = client.augment(frame, name, fidelity="fast")
        assert answer.data[name].value_counts().nunique() == 1
        assert answer.data.head(200)[name].tolist() == frame[name].tolist()

    def test_a_job_is_read(self, target: str, tmp_path: Path) -> None:
        with Client(target) as client:
            job = client.submit(TABLE, 2_000, fidelity="fast", seed=1)
            frame = job.to_pandas()
            job.to_parquet(tmp_path / "rows")
            assert client.job(job.id).to_arrow(tmp_path / "rows").num_rows == 2_000
        assert len(frame) == 2_000

    def test_an_imputer(self, target: str) -> None:
        frame = holed(100)
        out = CascadeImputer(target, TABLE, random_state=0).fit_transform(frame)
        assert not out.isna().any().any()


class TestOwnTable:
    """A table that an estimator learns and serves."""

    def test_from_rows_to_rows_and_over_a_pickle(self) -> None:
        pytest.importorskip("torch")
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(
            {"a": rng.normal(size=60), "b": rng.choice(["x", "y"], 60), "c": np.ones(60)}
        )
        late = frame.mask(rng.random(frame.shape) < 0.2)
        imputer = CascadeImputer(learner=HARDLY, random_state=0).fit(late)
        out = imputer.transform(late)
        assert not out.isna().any().any()
        assert set(out["b"]) == {"x", "y"}
        assert set(out["c"]) == {1.0}
        kept = pickle.dumps(imputer)
        table = imputer.learnt_
        assert isinstance(table, LearntTable)
        assert table.process is not None
        pid = table.process.pid
        table.close()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        again = pickle.loads(kept)
        assert again.transform(late).equals(out)
        again.learnt_.close()

    def test_what_cannot_be_learnt_is_said(self) -> None:
        pytest.importorskip("torch")
        with pytest.raises(ValueError, match="nothing was learnt of these rows"):
            CascadeImputer(learner=HARDLY).fit(pd.DataFrame({"a": [1.0, 1.0]}))
