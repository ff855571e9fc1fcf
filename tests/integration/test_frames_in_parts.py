"""Frames beyond what a server lets one request ask for: the SDK cuts, the server draws each row as
if it had not been cut."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cascade_client import AsyncClient, Client, InvalidRequest, OutsideKind, OutsideTotal
from cascade_server.config import ServerConfig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.releases import TABLE, make_release, payments
from tests.server.running import DRAWN_ANEW, Running, running

MOST_ROWS = 20
SOON = 120.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model_repository")
    make_release(folder)
    return folder


@pytest.fixture(scope="module")
def whole(repository: Path) -> Iterator[Running]:
    with running(ServerConfig(repository=repository, port=0, **DRAWN_ANEW)) as server:
        yield server


@pytest.fixture(scope="module")
def small(repository: Path) -> Iterator[Running]:
    limits = {"max_rows": MOST_ROWS, "max_message_bytes": 4096}
    with running(ServerConfig(repository=repository, port=0, **limits, **DRAWN_ANEW)) as server:
        yield server


def late(rows: int, seed: int = 0) -> pd.DataFrame:
    """Payments some of whose features are late, others in each row."""
    frame = payments(rows, seed).to_pandas().astype(object)
    holes = np.random.default_rng(seed).random(frame.shape) < 0.4
    frame = frame.mask(holes).infer_objects()
    return frame.set_index(pd.Index([f"p{row}" for row in range(rows)], name="payment"))


def asked(target: str, frame: pd.DataFrame, **how: Any) -> Any:
    with Client(target, timeout=SOON) as client:
        return client.synthesize(TABLE, frame, nulls="fill", timeout=SOON, **how)


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.integers(1, 60),
    draws=st.sampled_from([1, 3, 9]),
    fidelity=st.sampled_from(["fast", "full"]),
    seed=st.integers(0, 2**64 - 1),
)
def test_one_seed_gives_the_same_rows_however_a_frame_is_cut(
    whole: Running, small: Running, rows: int, draws: int, fidelity: str, seed: int
) -> None:
    how = {"draws": draws, "fidelity": fidelity, "seed": seed}
    frame = late(rows)
    one, other = (asked(each.target, frame, **how) for each in (whole, small))
    pd.testing.assert_frame_equal(one.data, other.data)
    assert one.provenance.tier == other.provenance.tier


def test_the_asyncio_client_gets_the_same(whole: Running, small: Running) -> None:
    frame = late(90)

    async def ask() -> Any:
        async with AsyncClient(small.target, timeout=SOON) as client, client.session() as session:
            return [
                await each.synthesize(
                    TABLE, frame, nulls="fill", seed=5, fidelity="fast", timeout=SOON
                )
                for each in (client, session)
            ]

    expected = asked(whole.target, frame, seed=5, fidelity="fast").data
    for found in asyncio.run(ask()):
        pd.testing.assert_frame_equal(found.data, expected)


def test_auto_is_one_tier_for_all(small: Running) -> None:
    found = asked(small.target, late(90), explain=True)
    again = asked(
        small.target,
        late(90),
        seed=found.provenance.seed,
        fidelity={"teacher": "full", "student": "fast"}[found.provenance.tier],
    )
    pd.testing.assert_frame_equal(found.data, again.data)


def test_values_that_were_never_learnt_are_told_of_all_parts(small: Running) -> None:
    frame = late(90)
    frame["amount"] = frame["amount"].astype(float)
    frame.loc[["p7", "p50", "p89"], "amount"] = 1e9
    made = asked(small.target, frame, fidelity="fast").provenance
    assert [(each.column, each.row) for each in made.outside_values] == [
        ("amount", row) for row in (7, 50, 89)
    ]
    assert made.outside_totals == (OutsideTotal("amount", OutsideKind.ABOVE, 3),)
    assert made.notices == ("column 'amount': 3 values are above all that was learnt",)


def test_a_value_that_is_refused_is_named_by_the_frames_index(small: Running) -> None:
    frame = late(90)
    frame["amount"] = frame["amount"].astype(float)
    frame.loc[["p50", "p51"], "amount"] = 1e9
    with pytest.raises(InvalidRequest) as caught:
        asked(small.target, frame, fidelity="fast", strict=True)
    said = str(caught.value)
    assert "'amount' row 50 " in said
    assert "(index: row 50 is 'p50', row 51 is 'p51')" in said
    assert caught.value.rows is not None
    assert 50 in caught.value.rows
