"""The SDK and `cascade ask` against `cascade serve`, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from cascade_client import AsyncClient, Client, InvalidRequest, NotFound, Routing, Tier, Unavailable
from cascade_client.commands.ask import ask
from click.testing import CliRunner

from tests.integration.serving import serve
from tests.releases import TABLE, make_release
from tests.typed import SOON


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model_repository")
    make_release(folder)
    return folder


@pytest.fixture(scope="module")
def target(repository: Path) -> Iterator[str]:
    """Where a server listens that nobody stops."""
    with serve("--repository", str(repository)) as served:
        yield served.target


@pytest.fixture
def client(target: str) -> Iterator[Client]:
    with Client(target, timeout=SOON) as client:
        client.wait_ready(SOON)
        yield client


class TestRealTime:
    """Rows with some columns known, completed."""

    def test_what_is_given_comes_back_and_the_rest_is_allowed(self, client: Client) -> None:
        given = {"amount": 12.34, "channel": None, "at": datetime(2026, 1, 5, 6, 7, 8)}
        answer = client.synthesize(TABLE, given, draws=20, fidelity="fast")
        assert [{name: row[name] for name in given} for row in answer.data] == [given] * 20
        assert {type(row["items"]) for row in answer.data} == {int}
        assert all(1 <= row["items"] <= 8 for row in answer.data)
        assert answer.provenance.tier is Tier.STUDENT

    def test_the_seed_in_the_provenance_repeats_the_answer(self, client: Client) -> None:
        """From the same tier; and nobody has asked for five items, so that none is pooled."""
        first = client.synthesize(TABLE, {"items": 5}, draws=5, fidelity="fast")
        again = client.synthesize(
            TABLE, {"items": 5}, draws=5, fidelity="fast", seed=first.provenance.seed
        )
        assert again.data == first.data

    def test_full_fidelity_and_likelihood(self, client: Client) -> None:
        answer = client.synthesize(TABLE, [{}, {"items": 3}], fidelity="full", log_likelihood=True)
        assert answer.provenance.tier is Tier.TEACHER
        assert answer.log_likelihood is not None
        assert answer.log_likelihood[0] == 0
        assert answer.log_likelihood[1] < 0

    def test_it_explains_which_tier_answered(self, client: Client) -> None:
        def explained() -> Routing:
            # Time enough for a teacher that had to learn beside programs which take all cores.
            answer = client.synthesize(TABLE, {"items": 3}, explain=True, timeout=10 * SOON)
            assert answer.provenance.routing is not None
            return answer.provenance.routing

        # The student's, as long as the teacher has lately been late on a busy machine.
        routings = (explained() for _ in range(10_000))
        highest = next(each for each in routings if "the highest" in each.reason)
        considered = highest.considered
        assert [each.tier for each in considered] == [Tier.TEACHER, Tier.STUDENT]
        assert considered[0].predicted > 0
        assert client.synthesize(TABLE, {"items": 3}).provenance.routing is None

    def test_frames_keep_dtypes(self, client: Client) -> None:
        frame = pd.DataFrame({"items": [1, None], "channel": ["web", None]}, index=[8, 9])
        data = client.synthesize(TABLE, frame).data
        assert data.loc[8, "items"] == 1
        assert data["items"].dtype == frame["items"].dtype
        assert data["fraud"].dtype == "int8"
        assert data["at"].dtype == "datetime64[us]"
        table = client.synthesize(TABLE, pa.table({"items": [1, 2]})).data
        assert table["items"].to_pylist() == [1, 2]
        assert table.schema.field("items").type == pa.int64()
        assert table.schema.field("fraud").type == pa.int8()


class TestSessions:
    """The same over a standing stream."""

    def test_a_seed_gives_the_rows_of_a_call(self, client: Client) -> None:
        with client.session() as session:
            for fidelity in ("fast", "full"):
                options: Any = {"seed": 7, "draws": 20, "fidelity": fidelity}
                asked = session.synthesize(TABLE, {"items": 3}, **options)
                assert asked.data == client.synthesize(TABLE, {"items": 3}, **options).data

    def test_refusals_are_those_of_calls(self, client: Client) -> None:
        with client.session() as session:
            for asked in (session, client):
                with pytest.raises(InvalidRequest, match="items") as refused:
                    asked.synthesize(TABLE, {"items": 999}, strict=True)
                assert refused.value.code is not None
                with pytest.raises(NotFound, match="its versions are"):
                    asked.synthesize(TABLE, {}, version=9)

    def test_threads_share_it(self, client: Client) -> None:
        def ask(items: int) -> bool:
            found = session.synthesize(TABLE, {"items": items}, fidelity="fast").data
            return bool(found["items"] == items)

        with client.session() as session, ThreadPoolExecutor(16) as threads:
            assert all(threads.map(ask, [1 + at % 8 for at in range(400)]))

    async def test_asyncio(self, target: str) -> None:
        async with AsyncClient(target, timeout=SOON) as client, client.session() as session:
            asked = [session.synthesize(TABLE, {"items": 1 + at % 8}) for at in range(200)]
            found = await asyncio.gather(*asked)
        assert [each.data["items"] for each in found] == [1 + at % 8 for at in range(200)]


class TestBulk:
    """Rows from the teacher."""

    def test_generate(self, client: Client) -> None:
        reports: list[tuple[int, int]] = []
        answer = client.generate(
            TABLE, 1500, given={"channel": "web"}, progress=lambda *done: reports.append(done)
        )
        assert len(answer.data) == 1500
        assert set(answer.data["channel"]) == {"web"}
        assert reports[-1] == (1500, 1500)

    async def test_asyncio(self, target: str) -> None:
        async with AsyncClient(target, timeout=SOON) as client:
            await client.wait_ready()
            answer = await client.synthesize(TABLE, {"items": 3})
            assert answer.data["items"] == 3
            rows = [len(c.data) async for c in client.stream(TABLE, 1500, kind="rows")]
            assert sum(rows) == 1500


class TestNeverLearnt:
    """Values that were never learnt are answered; holes are filled."""

    def test_a_frame_with_all_of_it(self, client: Client) -> None:
        frame = pd.DataFrame(
            {
                "amount": [-5.0, np.nan, 12.5],
                "channel": ["fax", None, "web"],
                "items": pd.array([99, None, 3], dtype="Int64"),
                "at": pd.to_datetime(["1999-01-01", None, "2026-01-05"]),
                "member": pd.array([None, True, False], dtype="boolean"),
            },
            index=[7, 8, 9],
        )
        answer = client.synthesize(TABLE, frame)
        data = answer.data
        assert data.index.to_list() == [7, 8, 9]
        assert data["amount"].notna().all()
        assert data["amount"][[7, 9]].to_list() == [-5.0, 12.5]
        # It may be NULL, and so it is.
        assert data["channel"][[7, 9]].to_list() == ["fax", "web"]
        assert data["channel"].isna().to_list() == [False, True, False]
        assert data["items"][[7, 9]].to_list() == [99, 3]
        assert data["at"][[7, 9]].to_list() == frame["at"][[7, 9]].to_list()
        assert data.drop(columns="channel").notna().all(axis=None)
        outside = {(each.column, each.row, each.kind) for each in answer.provenance.outside_values}
        assert outside == {
            ("amount", 0, "below"),
            ("channel", 0, "category"),
            ("items", 0, "above"),
            ("at", 0, "below"),
        }
        filled = client.synthesize(TABLE, frame, nulls="fill", seed=1, draws=20).data
        assert filled["channel"][[8]].notna().any()
        with pytest.raises(
            InvalidRequest, match=r"4 values are not allowed: 'amount' row 0 -5\.0, "
        ):
            client.synthesize(TABLE, frame, strict=True)

    def test_it_is_counted(self, client: Client) -> None:
        def counted() -> int:
            found = client.statistics().outside
            return sum(e.values for e in found if (e.column, e.kind) == ("items", "above"))

        before = counted()
        client.synthesize(TABLE, [{"items": 9}, {"items": 10}], draws=3)
        with client.session() as session:
            session.synthesize(TABLE, {"items": 11})
        assert counted() == before + 3


class TestRefusals:
    """The server names the culprit and what is allowed, and the client says it as an error."""

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ({"amout": 1}, ["'amout'", "amount"]),
            ({"amount": float("inf")}, ["'amount'", "inf"]),
            ({"amount": -1}, ["'amount'", "-1", "from 0"]),
            ({"amount": "much"}, ["'amount'", "'much'"]),
            ({"items": 2.5}, ["'items'", "2.5", "from 1 to 8"]),
            ({"channel": "fax"}, ["'channel'", "'fax'", "web"]),
            ({"member": 2}, ["'member'", "2", "true or false"]),
            ({"at": "soon"}, ["'at'", "'soon'", "2026-01-01"]),
        ],
    )
    def test_bad_values(self, client: Client, row: dict[str, Any], words: list[str]) -> None:
        with pytest.raises(InvalidRequest) as caught:
            client.synthesize(TABLE, row, strict=True)
        assert [word for word in words if word not in str(caught.value)] == []

    def test_too_many_draws(self, client: Client) -> None:
        with pytest.raises(InvalidRequest, match="draws is 1,000,000"):
            client.synthesize(TABLE, {}, draws=10**6)

    def test_too_large(self, client: Client) -> None:
        with pytest.raises(InvalidRequest, match="larger than max"):
            client.synthesize(TABLE, {"channel": "x" * 20_000_000})

    def test_what_only_all_rows_together_are_too_large_for_goes_in_parts(
        self, client: Client
    ) -> None:
        answer = client.synthesize(
            TABLE, [{"channel": "x" * 10_000}] * 2_000, columns=["items"], fidelity="fast"
        )
        assert len(answer.data) == 2_000

    def test_unknown_table_and_version(self, client: Client) -> None:
        with pytest.raises(NotFound, match=TABLE):
            client.describe("refunds")
        with pytest.raises(NotFound, match="version 9"):
            client.synthesize(TABLE, {}, version=9)


class TestCommandLine:
    """`cascade ask`."""

    def test_asks(self, target: str) -> None:
        options = ["--given", "items=3", "--draws", "5", "--target", target]
        result = CliRunner().invoke(ask, [TABLE, *options, "--json"])
        assert result.exit_code == 0, result.output
        assert [row["items"] for row in json.loads(result.stdout)["rows"]] == [3] * 5
        # By default the tier depends on how long the teacher has lately taken.
        shown = CliRunner().invoke(ask, [TABLE, *options, "--explain", "--full"])
        assert f"{TABLE} v1" in shown.output
        # By a teacher that was asked for, or from the pool where that has been filled by then.
        assert "why: " in shown.output
        assert "student, 1 step:" in shown.output


def test_a_drained_server_is_unavailable(repository: Path) -> None:
    with (
        serve("--repository", str(repository)) as served,
        Client(served.target, timeout=SOON) as client,
        client.session() as session,
    ):
        client.synthesize(TABLE, {})
        session.synthesize(TABLE, {})
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(SOON) == 0
        with pytest.raises(Unavailable, match=served.target):
            client.synthesize(TABLE, {})
        with pytest.raises(Unavailable, match=served.target):
            session.synthesize(TABLE, {})
