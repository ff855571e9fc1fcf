"""A server without a network: the real clients over a channel that is a Python object."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import grpc
import pandas as pd
import pytest
from cascade_client import (
    AsyncClient,
    CascadeError,
    Client,
    ColumnDescription,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    Retry,
    TableDescription,
    Tier,
    Unavailable,
)
from cascade_client.errors import ERRORS
from cascade_client.testing import Asked, FakeServer, FakeTable
from cascade_client.testing.refusals import CODES

ROWS: list[dict[str, Any]] = [
    {"age": 25, "income": 1.5, "city": "Rome", "member": True, "joined": datetime(2026, 1, 2)},
    {"age": 61, "income": None, "city": "Oslo", "member": False, "joined": datetime(2026, 3, 4)},
    {"age": 40, "income": 2.5, "city": None, "member": True, "joined": datetime(2026, 5, 6)},
]


@pytest.fixture
def server() -> FakeServer:
    return FakeServer({"people": ROWS}, chunk_rows=2)


class TestRows:
    """Answers go round them, beginning at the seed."""

    def test_come_back_as_they_are(self, server: FakeServer) -> None:
        with server.client() as client:
            answer = client.synthesize("people", [{}] * 2, draws=2, seed=1)
        assert answer.data == [ROWS[1], ROWS[2], ROWS[0], ROWS[1]]

    def test_but_for_what_was_given(self, server: FakeServer) -> None:
        with server.client() as client:
            given = {"age": 3, "city": None, "joined": datetime(2020, 1, 1)}
            assert client.synthesize("people", given, seed=0).data == {**ROWS[0], **given}

    def test_without_a_seed_calls_differ_and_tell_theirs(self, server: FakeServer) -> None:
        with server.client() as client:
            one, two = (client.synthesize("people", {}) for _ in range(2))
            assert one.data != two.data
            seed = two.provenance.seed
            assert client.synthesize("people", {}, seed=seed).data == two.data

    def test_of_a_frame_for_a_frame(self) -> None:
        frame = pd.DataFrame({"age": [1, 2], "income": [0.5, None]})
        with FakeServer({"people": frame}).client() as client:
            asked = pd.DataFrame({"age": [7, 8]}, index=["a", "b"])
            data = client.synthesize("people", asked, seed=0).data
        pd.testing.assert_frame_equal(
            data, pd.DataFrame({"age": [7, 8], "income": [0.5, None]}, index=["a", "b"])
        )

    def test_columns_are_told_by_them(self, server: FakeServer) -> None:
        with server.client() as client:
            described = client.describe("people")
            [summary] = client.tables()
        assert [(c.name, c.kind, c.nullable) for c in described.columns] == [
            ("age", "integer", False),
            ("income", "continuous", True),
            ("city", "categorical", True),
            ("member", "boolean", False),
            ("joined", "datetime", False),
        ]
        assert described.by_name["city"].categories == ("Rome", "Oslo")
        assert (described.by_name["age"].minimum, described.by_name["age"].maximum) == (25, 61)
        assert (summary.table, summary.versions, summary.columns) == ("people", (1,), 5)

    def test_some_columns(self, server: FakeServer) -> None:
        with server.client() as client:
            data = client.synthesize("people", {}, columns=["city", "age"], seed=0).data
        assert list(data.items()) == [("city", "Rome"), ("age", 25)]

    def test_provenance_and_more(self, server: FakeServer) -> None:
        with server.client() as client:
            fast = client.synthesize("people", {}, fidelity="fast", explain=True)
            full = client.synthesize("people", [{}, {}], log_likelihood=True)
        assert (fast.provenance.tier, full.provenance.tier) == (Tier.STUDENT, Tier.TEACHER)
        assert fast.provenance.routing is not None
        assert fast.provenance.synthetic
        assert full.log_likelihood is not None
        assert full.log_likelihood.tolist() == [-10.0, -10.0]


class TestOtherTables:
    """Columns with values at random, and functions."""

    DESCRIBED = TableDescription(
        "ignored",
        4,
        (
            ColumnDescription("age", "integer", True, "int64", 20, 29),
            ColumnDescription("income", "continuous", False, "float64", -1.0, 1.0),
            ColumnDescription("city", "categorical", False, "string", categories=("a", "b")),
            ColumnDescription("member", "boolean", False, "bool"),
            ColumnDescription("joined", "datetime", False, "datetime64[us]", 0, 1e6),
        ),
    )

    def test_a_description_has_values_within_its_bounds(self) -> None:
        with FakeServer({"people": self.DESCRIBED}).client() as client:
            rows = client.synthesize("people", {"city": "b"}, draws=200, seed=5).data
            again = client.synthesize("people", {"city": "b"}, draws=200, seed=5).data
            other = client.synthesize("people", {"city": "b"}, draws=200, seed=6)
        assert rows == again
        assert rows != other.data
        assert {row["age"] for row in rows} == {None, *range(20, 30)}
        assert all(-1 <= row["income"] <= 1 and row["city"] == "b" for row in rows)
        assert {row["member"] for row in rows} == {True, False}
        assert all(row["joined"].year == 1970 for row in rows)
        assert other.provenance.version == 4

    def test_a_function_is_told_what_was_asked(self) -> None:
        asked: list[Asked] = []

        def answer(what: Asked) -> list[dict[str, Any]]:
            asked.append(what)
            return [{"income": 0.5, "age": 20}] * 4

        columns = self.DESCRIBED.columns[:2]
        with FakeServer({"people": FakeTable(answer, columns)}).client() as client:
            rows = client.synthesize("people", [{"age": 21}, {"age": None}], draws=2).data
        assert [row["age"] for row in rows] == [20] * 4
        assert asked[0].rows == ({"age": 21}, {"age": None})

    def test_what_a_function_leaves_out_is_as_given(self) -> None:
        table = FakeTable(lambda asked: [{"income": 0.5}], self.DESCRIBED.columns[:2])
        with FakeServer({"people": table}).client() as client:
            assert client.synthesize("people", {"age": 21}).data == {"age": 21, "income": 0.5}
            with pytest.raises(ValueError, match="the rows of 'people' have no 'age'"):
                client.synthesize("people", {})
            with pytest.raises(ValueError, match="answered with 1 rows; 3 were asked for"):
                client.synthesize("people", {"age": 21}, draws=3)

    def test_versions(self) -> None:
        with FakeServer({"people": FakeTable(ROWS, versions=(1, 3))}).client() as client:
            assert client.synthesize("people", {}).provenance.version == 3
            assert client.synthesize("people", {}, version=1).provenance.version == 1
            assert client.releases.list().answering("people") == 3
            with pytest.raises(NotFound, match="no version 2 of 'people': 1, 3"):
                client.synthesize("people", {}, version=2)

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (5, "table 'people': rows is a int; a list of dicts, a DataFrame or a function"),
            ([5], "table 'people': rows holds a int; dicts"),
            ([], "table 'people': a FakeTable without rows"),
            (lambda asked: [], "table 'people': a FakeTable without rows .* needs columns"),
        ],
    )
    def test_what_is_no_table(self, table: Any, message: str) -> None:
        with pytest.raises(TypeError, match=message):
            FakeServer({"people": table})


class TestWhatWasAsked:
    """Every request is kept, as the server read it."""

    def test_of_synthesize(self, server: FakeServer) -> None:
        with server.client() as client:
            client.synthesize(
                "people",
                {"age": 1, "income": None},
                draws=3,
                seed=4,
                fidelity="full",
                columns=["age"],
                version=1,
                explain=True,
                strict=True,
                timeout=0.25,
            )
            client.synthesize("people", {})
        assert server.asked[0] == Asked(
            method="synthesize",
            table="people",
            rows=({"age": 1, "income": None},),
            draws=3,
            columns=("age",),
            seed=4,
            fidelity="full",
            version=1,
            explain=True,
            strict=True,
            timeout=0.25,
        )
        assert (server.asked[1].seed, server.asked[1].columns, server.asked[1].version) == (
            None,
            None,
            None,
        )

    def test_of_generate(self, server: FakeServer) -> None:
        with server.client() as client:
            client.generate("people", 5, given={"age": 1}, seed=2)
        assert server.asked == [Asked("generate", "people", ({"age": 1},), 5, None, 2)]


class TestRefusing:
    """The client decides what to do about it, as always."""

    @pytest.mark.parametrize("error", CODES)
    def test_each_error_is_what_is_raised(
        self, server: FakeServer, error: type[CascadeError]
    ) -> None:
        server.refuse(error("as the test says"), times=None)
        with server.client() as client, pytest.raises(error, match="as the test says"):
            client.synthesize("people", {})

    def test_all_of_them_have_a_status(self) -> None:
        assert set(CODES) == set(ERRORS.values())
        assert all(ERRORS[code] is error for error, code in CODES.items())

    def test_so_many_times_and_then_no_more(self, server: FakeServer) -> None:
        server.refuse(Overloaded("busy", retry_after=0.25), times=2)
        with server.client() as client:
            assert client.synthesize("people", {}, seed=0).data == ROWS[0]
        assert server.clock() == 0.5
        assert len(server.asked) == 3

    def test_until_it_recovers(self, server: FakeServer) -> None:
        server.refuse(Unavailable, times=None)
        with server.client(retry=Retry(attempts=2, unavailable_attempts=2)) as client:
            with pytest.raises(Unavailable, match="fake server: refused, as the test asked for"):
                client.synthesize("people", {})
            server.recover()
            assert client.synthesize("people", {}, seed=0).data == ROWS[0]
        assert len(server.asked) == 3

    def test_a_code_of_its_own(self, server: FakeServer) -> None:
        server.refuse(InvalidRequest("not now", code=grpc.StatusCode.FAILED_PRECONDITION))
        with server.client() as client, pytest.raises(InvalidRequest) as raised:
            client.synthesize("people", {})
        assert raised.value.code is grpc.StatusCode.FAILED_PRECONDITION

    def test_what_a_server_refuses_by_itself(self, server: FakeServer) -> None:
        with server.client() as client:
            with pytest.raises(NotFound, match="unknown table 'persons'; the tables are: people"):
                client.describe("persons")
            with pytest.raises(InvalidRequest, match="people has no column 'height'"):
                client.synthesize("people", {"height": 3})
            with pytest.raises(InvalidRequest, match="people has no column 'height'"):
                client.generate("people", 3, columns=["height"])
            with pytest.raises(PermissionDenied, match="does not know LoadRelease"):
                client.releases.load("people")

    def test_health(self, server: FakeServer) -> None:
        with server.client() as client:
            client.wait_ready()
            server.is_ready = False
            with pytest.raises(Unavailable, match="not ready after 3 s: NOT_SERVING"):
                client.wait_ready(3)


class TestSlowness:
    """In pretended time."""

    def test_an_answer_that_comes_in_time(self, server: FakeServer) -> None:
        server.slow(0.75)
        with server.client() as client:
            client.synthesize("people", {})
        assert server.clock() == 0.75

    def test_and_one_that_does_not(self, server: FakeServer) -> None:
        server.slow(2.0, times=1)
        with server.client() as client:
            with pytest.raises(DeadlineExceeded, match="longer than the timeout"):
                client.synthesize("people", {}, timeout=0.5)
            assert server.clock() == 0.5
            client.synthesize("people", {}, timeout=0.5)
            assert server.clock() == 0.5

    async def test_tasks_are_slow_beside_each_other(self, server: FakeServer) -> None:
        server.slow(0.75)
        async with server.async_client() as client:
            await client.describe("people")
            await asyncio.gather(*(client.synthesize("people", {}) for _ in range(10)))
        assert server.clock() == 0.75


class TestStreams:
    """`generate`, whole or broken."""

    def test_in_chunks(self, server: FakeServer) -> None:
        with server.client() as client:
            chunks = list(client.stream("people", 5, seed=1, kind="rows"))
        assert [(len(chunk.data), chunk.done) for chunk in chunks] == [(2, 2), (2, 4), (1, 5)]
        assert chunks[0].data == [ROWS[1], ROWS[2]]

    def test_broken_ones_are_resumed(self, server: FakeServer) -> None:
        server.refuse(Unavailable, times=2, after=2)
        with server.client() as client:
            answer = client.generate("people", 5, seed=1, kind="rows")
        assert answer.data == [ROWS[(1 + place) % 3] for place in range(5)]
        assert [asked.done for asked in server.asked] == [0, 2, 4]

    async def test_of_tasks_too(self, server: FakeServer) -> None:
        server.refuse(Unavailable, after=2)
        async with server.async_client() as client:
            answer = await client.generate("people", 5, kind="rows", given={"age": 3})
        assert [row["age"] for row in answer.data] == [3] * 5
        assert [asked.done for asked in server.asked] == [0, 2]
        assert server.asked[1].seed == answer.provenance.seed


class TestSessions:
    """The same over a standing stream."""

    def test_of_threads(self, server: FakeServer) -> None:
        server.refuse(Overloaded("busy", retry_after=0.25), times=2)
        with server.client() as client, client.session() as session:
            assert session.synthesize("people", {}, seed=0).data == ROWS[0]
            with pytest.raises(NotFound):
                session.synthesize("people", {}, version=9)
            with ThreadPoolExecutor(4) as threads:
                asked = [
                    threads.submit(session.synthesize, "people", {"age": age}) for age in range(20)
                ]
                assert [each.result(10).data["age"] for each in asked] == list(range(20))
            server.slow(2.0)
            with pytest.raises(DeadlineExceeded):
                session.synthesize("people", {}, timeout=0.5)

    async def test_of_tasks(self, server: FakeServer) -> None:
        server.refuse(Overloaded("busy", retry_after=0.25), times=2)
        async with server.async_client() as client, client.session() as session:
            asked = [session.synthesize("people", {"age": age}) for age in range(20)]
            found = await asyncio.gather(*asked)
            assert [each.data["age"] for each in found] == list(range(20))
            server.slow(2.0)
            with pytest.raises(DeadlineExceeded):
                await session.synthesize("people", {}, timeout=0.5)


class TestChannels:
    """For code that makes its own client."""

    def test_of_threads(self, server: FakeServer) -> None:
        with Client(channel=server.channel()) as client:
            assert client.synthesize("people", {}, seed=0).data == ROWS[0]
            assert client.statistics().engines == ()
            assert client.service_level().objectives == ()

    async def test_of_tasks(self, server: FakeServer) -> None:
        async with AsyncClient(channel=server.async_channel()) as client:
            assert (await client.synthesize("people", {}, seed=0)).data == ROWS[0]
            assert (await client.statistics()).engines == ()
            assert (await client.releases.list()).generation == 1
            await client.wait_ready()
            with pytest.raises(PermissionDenied):
                await client.releases.promote("people")


LONE = "\ud800"  # half of a surrogate pair, which is no Unicode


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.describe(LONE),
        lambda client: client.synthesize(LONE, {}),
        lambda client: client.synthesize("people", {LONE: 1}),
        lambda client: client.synthesize("people", {"city": LONE}),
        lambda client: client.synthesize("people", {}, columns=[LONE]),
        lambda client: client.generate("people", 1, given={LONE: 1}),
        lambda client: client.generate("people", 1, columns=[LONE]),
    ],
)
def test_what_is_no_unicode_is_an_invalid_request(
    server: FakeServer, ask: Callable[[Client], object]
) -> None:
    with server.client() as client, pytest.raises(InvalidRequest, match=r"'\\ud800'|'city'"):
        ask(client)
