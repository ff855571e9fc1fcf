"""Exact relations over gRPC: in real time and offline, of both tiers, with the default server."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cascade_client import Client
from cascade_server.config import ServerConfig
from cascade_tables import Frame, measure_formula

from tests import ledgers
from tests.releases import write_untaught
from tests.server.running import Running, running

TABLE = "ledger"
FIDELITIES = ["fast", "full"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("ledgers")
    write_untaught(folder, ledgers.codec(), TABLE, 1, 0)
    with running(ServerConfig(repository=folder, port=0, metrics_port=None)) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.target, timeout=60) as client:
        yield client


def assert_exact(rows: pd.DataFrame) -> None:
    frame = Frame.from_pandas(rows[list(ledgers.schema().names)])
    for relation in ledgers.schema().relations:
        if relation.always:
            found = measure_formula(relation.formula, relation.decimals, frame)
            assert found.known.all()
            assert found.violations == 0, str(relation.formula)


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
def test_what_always_holds(client: Client, fidelity: Any, rows: int, share: float) -> None:
    rng = np.random.default_rng([rows, int(100 * share)])
    known = ledgers.claims(rows, seed=31).to_pandas()
    known = known.drop(columns=known.columns[rng.random(known.shape[1]) >= share])
    given = known if len(known.columns) else pd.DataFrame(index=range(rows))
    answer = client.synthesize(TABLE, given, draws=3, fidelity=fidelity, seed=4)
    assert len(answer.data) == 3 * rows
    assert_exact(answer.data)
    for name in known.columns:
        expected = known[name].repeat(3).to_numpy()
        np.testing.assert_array_equal(answer.data[name].to_numpy(), expected)


def test_rows_that_know_different_columns(client: Client) -> None:
    rows: list[dict[str, Any]] = [
        {"injury": 10.1, "vehicle": 0.2},
        {"injury": 10.1, "total": 10.3},
        {"total": 10.3, "vehicle": 0.2},
    ]
    found = client.synthesize(TABLE, rows, fidelity="fast").data
    assert [(row["injury"], row["vehicle"], row["total"]) for row in found] == [
        (10.1, 0.2, 10.3)
    ] * 3


def test_a_column_alone(client: Client) -> None:
    known = {"injury": 10.1, "vehicle": 0.2}
    answer = client.synthesize(TABLE, known, columns=["total"], fidelity="fast")
    assert answer.data == {"total": 10.3}


@pytest.mark.parametrize("given", [None, {"total": 812.34}, {"opened": pd.Timestamp("2024-05-05")}])
def test_offline(client: Client, given: dict[str, Any] | None) -> None:
    rows = client.generate(TABLE, 700, given=given, seed=2).data
    assert_exact(rows)
    for name, value in (given or {}).items():
        assert (rows[name] == value).all()


def test_pooled_rows(server: Running, client: Client) -> None:
    """Rows are made ahead of time, and what follows from a given number is exact in them too."""
    server.server.service.dispatcher.last_offline = math.inf
    pooled = server.server.service.answers.pooled
    assert pooled is not None
    while server.run(pooled.refill.fill()):
        pass
    whole = client.synthesize(TABLE, [{}] * 8)
    assert whole.provenance.from_pool
    assert_exact(pd.DataFrame(whole.data))
    part = {"total": 10.3, "injury": 10.1}
    for _ in range(8):
        client.synthesize(TABLE, part)
    while server.run(pooled.refill.fill()):
        pass
    # Of the same condition, but not the same numbers: what follows is made of the caller's own.
    for given in (part, {"total": 10.31, "injury": 10.1}):
        answer = client.synthesize(TABLE, given)
        assert answer.provenance.from_pool
        assert answer.data["vehicle"] == round(given["total"] - given["injury"], 2)
