"""The blocking client against a real gRPC server whose service is scripted."""

from __future__ import annotations

import math
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from cascade_client import (
    MISSING,
    AsyncClient,
    Cancelled,
    Client,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    OutsideKind,
    OutsideTotal,
    OutsideValue,
    Overloaded,
    Retry,
    ServerError,
    Tier,
    Unavailable,
)
from cascade_proto import synthesis_pb2 as pb

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


def test_says_whose_budget_its_refusal_would_spend(client: Client, service: Any) -> None:
    client.synthesize("people", {"age": 30})
    assert service.headers["cascade-table"] == "people"
    assert "cascade-class" not in service.headers


class TestSynthesize:
    """Rows come back complete, in the form they went out in."""

    def test_a_dict_for_a_dict(self, client: Client) -> None:
        answer = client.synthesize("people", {"age": 30, "income": None, "city": MISSING})
        assert answer.data == {
            "age": 30,
            "income": None,
            "city": "Rome",
            "shade": "2",
            "member": True,
            "joined": datetime(1970, 1, 1, 1),
        }

    def test_several_draws_of_a_dict_are_a_list(self, client: Client) -> None:
        answer = client.synthesize("people", {"age": 30}, draws=2, columns=["age", "city"])
        assert answer.data == [{"age": 30, "city": "Rome"}] * 2

    def test_a_list_for_a_list(self, client: Client) -> None:
        rows = [{"age": 1}, {"age": 2}]
        answer = client.synthesize("people", rows, draws=2, columns=["age"])
        assert answer.data == [{"age": 1}, {"age": 1}, {"age": 2}, {"age": 2}]

    def test_a_frame_for_a_frame_with_its_index(self, client: Client) -> None:
        frame = pd.DataFrame({"age": [1, 2], "city": ["Oslo", None]}, index=["a", "b"])
        asked = ["age", "city"]
        data = client.synthesize("people", frame, draws=2, columns=asked, nulls="fill").data
        expected = pd.DataFrame(
            {"age": [1, 1, 2, 2], "city": ["Oslo", "Oslo", "Rome", "Rome"]}, index=list("aabb")
        )
        pd.testing.assert_frame_equal(data, expected)

    @pytest.mark.parametrize("hole", [None, math.nan, np.float64("nan"), pd.NA, pd.NaT])
    def test_an_empty_cell_is_null_where_that_was_learnt_and_else_a_hole(
        self, client: Client, hole: Any
    ) -> None:
        for rows in ([{"age": hole, "city": hole}], [{"age": 1, "city": "Oslo"}, {"age": hole}]):
            rows[-1]["city"] = hole
            last = client.synthesize("people", rows, columns=["age", "city"]).data[-1]
            assert last == {"age": 40, "city": None}
            last = client.synthesize("people", rows, columns=["age", "city"], nulls="fill").data[-1]
            assert last == {"age": 40, "city": "Rome"}

    def test_holes_of_a_frame(self, client: Client) -> None:
        frame = pd.DataFrame({"age": [1.0, np.nan], "city": ["Oslo", None]})
        data = client.synthesize("people", frame, columns=["age", "city"]).data
        assert data["age"].to_list() == [1, 40]
        assert data["city"].isna().to_list() == [False, True]
        data = client.synthesize("people", frame, columns=["age", "city"], nulls="fill").data
        assert data["city"].to_list() == ["Oslo", "Rome"]

    def test_nulls_takes_two_words(self, client: Client) -> None:
        with pytest.raises(InvalidRequest, match="nulls is 'missing'; 'observed' or 'fill'"):
            client.synthesize("people", {}, nulls="missing")  # type: ignore[call-overload]

    def test_what_was_never_learnt_is_told(self, client: Client, service: Any) -> None:
        made = client.synthesize("people", [{"age": 3}, {"age": 900}]).provenance
        assert made.outside_values == (OutsideValue("age", 1, OutsideKind.ABOVE, "100"),)
        assert made.outside_totals == (OutsideTotal("age", OutsideKind.ABOVE, 1),)
        assert "1 value never learnt" in str(made)
        assert not service.requests[-1].strict
        client.synthesize("people", {"age": 900}, strict=True)
        assert service.requests[-1].strict

    def test_a_table_for_a_table(self, client: Client) -> None:
        table = pa.table({"age": [1, None]})
        data = client.synthesize("people", table, columns=["age", "income"]).data
        assert data == pa.table({"age": [1, 40], "income": [1.5, 1.5]})

    def test_the_request_says_what_was_asked(self, client: Client, service: Any) -> None:
        client.synthesize(
            "people", {"age": 1}, seed=0, fidelity="full", log_likelihood=True, version=2
        )
        request = service.requests[-1]
        assert (request.table, request.version, request.draws) == ("people", 2, 1)
        assert request.HasField("seed")
        assert request.fidelity == pb.FIDELITY_FULL
        assert request.log_likelihood

    def test_the_deadline_goes_along_to_the_microsecond(self, client: Client, service: Any) -> None:
        client.synthesize("people", {}, timeout=12.3456789)
        assert service.requests[-1].timeout_microseconds == 12_345_679

    def test_a_seed_not_given_is_not_sent(self, client: Client, service: Any) -> None:
        client.synthesize("people", {})
        assert not service.requests[-1].HasField("seed")

    def test_provenance_and_likelihood(self, client: Client) -> None:
        answer = client.synthesize("people", [{}, {}], seed=7, log_likelihood=True)
        made = answer.provenance
        assert (made.tier, made.version, made.seed) == (Tier.STUDENT, 3, 7)
        assert made.timings.total == pytest.approx(250e-6)
        assert answer.log_likelihood is not None
        assert answer.log_likelihood.tolist() == [-1.5, -1.5]
        assert client.synthesize("people", {}).log_likelihood is None


class TestArguments:
    """A bad argument is named before anything is sent."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"draws": 0}, "draws is 0; an integer from 1 to 4294967295"),
            ({"draws": 2**32}, "draws is 4294967296"),
            ({"draws": 1.5}, "draws is 1.5; an integer"),
            ({"draws": True}, "draws is True"),
            ({"seed": -1}, "seed is -1"),
            ({"seed": 2**64}, "seed is 18446744073709551616"),
            ({"version": 0}, "version is 0"),
            ({"fidelity": "best"}, "fidelity is 'best'; 'auto', 'fast' .the student. or 'full'"),
            ({"columns": "age"}, "columns is the string 'age'"),
            ({"columns": []}, "columns is empty"),
            ({"columns": [1]}, "columns holds 1"),
            ({"timeout": 0}, "timeout is 0; seconds above 0"),
            ({"timeout": float("nan")}, "timeout is nan"),
            ({"timeout": "5"}, "timeout is '5'; a number of seconds is allowed"),
            ({"timeout": True}, "timeout is True; a number"),
            ({"timeout": 1e14}, r"timeout is 1.*; seconds above 0 are allowed, 1,000,000,000 at"),
            ({"timeout": 10**400}, "timeout is 1000.*at most, or infinity"),
        ],
    )
    def test_synthesize(
        self, client: Client, service: Any, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InvalidRequest, match=message):
            client.synthesize("people", {"age": 1}, **arguments)
        assert service.requests == []

    @pytest.mark.parametrize(
        "ask",
        [
            lambda client, timeout: client.tables(timeout=timeout),
            lambda client, timeout: client.wait_ready(timeout),
            lambda client, timeout: client.generate("people", 1, timeout=timeout),
            lambda client, timeout: client.complete([{}], table="people", timeout=timeout),
            lambda client, timeout: client.submit("people", 1, timeout=timeout),
            lambda client, timeout: client.jobs.wait("0123", timeout=timeout),
            lambda _, timeout: Client(timeout=timeout),
            lambda _, timeout: AsyncClient(timeout=timeout),
        ],
    )
    @pytest.mark.parametrize("timeout", ["5", 1e14])
    def test_seconds(self, client: Client, service: Any, ask: Any, timeout: Any) -> None:
        with pytest.raises(InvalidRequest, match=f"timeout is {timeout!r}; .* allowed"):
            ask(client, timeout)
        assert service.requests == []

    @pytest.mark.parametrize("timeout", [1e9, np.float32(7), math.inf])
    def test_seconds_that_may_be(self, client: Client, timeout: Any) -> None:
        assert client.tables(timeout=timeout)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n": 0}, "n is 0"),
            ({"kind": "excel"}, "kind is 'excel'; 'pandas' or 'rows' or 'arrow' or 'polars'"),
            ({"given": [{"age": 1}]}, "given is a list; a dict"),
        ],
    )
    def test_generate(self, client: Client, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidRequest, match=message):
            client.generate("people", **{"n": 1, **arguments})

    def test_a_table_is_a_string(self, client: Client) -> None:
        with pytest.raises(InvalidRequest, match="table is a int"):
            client.describe(5)  # type: ignore[arg-type]


class TestGenerate:
    """The stream, collected or in chunks."""

    def test_collects_into_a_frame(self, client: Client) -> None:
        reports: list[tuple[int, int]] = []
        answer = client.generate(
            "people", 5, given={"age": 9}, progress=lambda *done: reports.append(done)
        )
        assert answer.data["age"].to_list() == [9] * 5
        assert list(answer.data.index) == [0, 1, 2, 3, 4]
        assert reports == [(2, 5), (4, 5), (5, 5)]
        assert answer.provenance.tier is Tier.TEACHER

    def test_kinds(self, client: Client) -> None:
        rows = client.generate("people", 3, kind="rows", columns=["city"]).data
        assert rows == [{"city": "Rome"}] * 3
        table = client.generate("people", 3, kind="arrow", columns=["city"]).data
        assert table.num_rows == 3

    def test_streams_chunks(self, client: Client) -> None:
        chunks = list(client.stream("people", 3, kind="rows", columns=["age"]))
        assert [(len(c.data), c.done, c.total) for c in chunks] == [(2, 2, 3), (1, 3, 3)]

    def test_has_no_deadline_unless_given(self, client: Client, service: Any) -> None:
        client.generate("people", 1)
        client.generate("people", 1, timeout=5)
        without, given = service.deadlines
        assert without is None or without > 1e6
        assert given <= 5.1  # gRPC rounds a timeout up by at most 1 %, to fit its header

    def test_leaving_early_cancels(self, client: Client, service: Any) -> None:
        for chunk in client.stream("people", 10**9, kind="rows"):
            assert chunk.done == 2
            break
        assert service.ended.wait(10)

    def test_a_failure_before_the_first_rows_is_retried(
        self, client: Client, service: Any, fault: Any
    ) -> None:
        service.faults = [fault(UNAVAILABLE)]
        assert len(client.generate("people", 3, kind="rows").data) == 3


class TestSchemas:
    """A schema is asked for once, and again when another release answers."""

    def test_once(self, client: Client, service: Any) -> None:
        for _ in range(3):
            client.synthesize("people", {})
        assert service.described == 1

    def test_again_after_a_new_release(self, client: Client, service: Any) -> None:
        client.synthesize("people", {})
        service.version = 4
        for _ in range(3):
            assert client.synthesize("people", {}).provenance.version == 4
        assert service.described == 2

    def test_describe_and_tables(self, client: Client) -> None:
        described = client.describe("people")
        assert (described.table, described.version) == ("people", 3)
        assert described.columns[0].allowed == "an integer from 0 to 100"
        assert described.releases[0].fidelity == {"student": {"xgb_c2st": 0.94}}
        [summary] = client.tables()
        assert (summary.table, summary.versions) == ("people", (1, 3))


class TestFailures:
    """What is retried, for how long, and what is raised in the end."""

    def test_an_unknown_table(self, client: Client) -> None:
        with pytest.raises(NotFound, match="no table 'persons': people") as caught:
            client.synthesize("persons", {})
        assert isinstance(caught.value.__cause__, grpc.RpcError)

    def test_unavailable_is_retried_with_backoff(
        self, client: Client, service: Any, told: Any, fault: Any
    ) -> None:
        service.faults = [fault(UNAVAILABLE), fault(UNAVAILABLE)]
        assert client.tables()
        assert told.slept == pytest.approx([0.02, 0.04])

    def test_attempts_run_out(self, client: Client, service: Any, fault: Any) -> None:
        service.faults = [fault(UNAVAILABLE)] * 20
        with pytest.raises(Unavailable, match="as scripted"):
            client.tables()
        assert len(service.requests) == 2 * Retry().attempts

    def test_pushback_is_waited_for(
        self, client: Client, service: Any, told: Any, fault: Any
    ) -> None:
        service.faults = [fault(FULL, pushback="1500")]
        assert client.tables()
        assert told.slept == [1.5]

    def test_retries_take_from_the_same_deadline(
        self, client: Client, service: Any, fault: Any
    ) -> None:
        service.faults = [fault(FULL, pushback="15000")]
        client.tables()
        first, second = service.deadlines
        assert first > 15
        assert second <= 5.1  # gRPC rounds a timeout up by at most 1 %, to fit its header

    def test_a_pushback_past_the_deadline_is_not_waited_for(
        self, client: Client, service: Any, told: Any, fault: Any
    ) -> None:
        service.faults = [fault(FULL, pushback="30000")]
        with pytest.raises(Overloaded) as caught:
            client.tables()
        assert caught.value.retry_after == 30
        assert told.slept == []

    @pytest.mark.parametrize("pushback", ["-1", "soon", None])
    def test_without_a_pushback_to_wait_for_overload_is_final(
        self, client: Client, service: Any, fault: Any, pushback: str | None
    ) -> None:
        service.faults = [fault(FULL, pushback=pushback)]
        with pytest.raises(Overloaded):
            client.tables()
        assert len(service.requests) == 1

    @pytest.mark.parametrize(
        ("code", "error"),
        [
            (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
            (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
            (grpc.StatusCode.CANCELLED, Cancelled),
            (grpc.StatusCode.INTERNAL, ServerError),
        ],
    )
    def test_others_are_final(
        self, client: Client, service: Any, fault: Any, code: grpc.StatusCode, error: Any
    ) -> None:
        service.faults = [fault(code)]
        with pytest.raises(error, match="as scripted"):
            client.tables()
        assert len(service.requests) == 1

    def test_no_server(self) -> None:
        with socket.socket() as taken:  # bound and not listening: nobody answers there
            taken.bind(("127.0.0.1", 0))
            target = f"127.0.0.1:{taken.getsockname()[1]}"
            with (
                Client(target, retry=Retry(attempts=1), timeout=10) as client,
                pytest.raises(Unavailable, match=target),
            ):
                client.tables()

    def test_a_message_too_large_is_the_requests_fault(self, client: Client) -> None:
        row = {"city": "x" * 100_000}
        with pytest.raises(InvalidRequest, match=r"larger than max .* fewer rows"):
            client.synthesize("people", [row] * 50)


class TestLife:
    """Waiting for a server, and letting it go."""

    def test_waits_until_serving(self, client: Client, service: Any, told: Any) -> None:
        service.ready = [0, 2, 2]
        client.wait_ready()
        assert len(told.slept) == 3

    def test_says_what_the_server_said_when_time_is_up(self, client: Client, service: Any) -> None:
        service.ready = [2] * 1000
        with pytest.raises(Unavailable, match="is not ready after 2 s: NOT_SERVING"):
            client.wait_ready(2)

    def test_a_server_without_health_is_an_error_at_once(self) -> None:
        server = grpc.server(ThreadPoolExecutor(1))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with Client(f"127.0.0.1:{port}") as client, pytest.raises(ServerError):
            client.wait_ready()
        server.stop(None).wait()

    def test_with_closes(self, target: str) -> None:
        with Client(target) as client:
            assert "closed" not in repr(client)
        client.close()
        with pytest.raises(RuntimeError, match="closed> answers no more calls"):
            client.tables()

    def test_a_call_may_take_a_second_unless_told_otherwise(self, client: Client) -> None:
        with Client() as default:
            assert (default.timeout, default.target) == (1.0, "127.0.0.1:8470")
        assert client.timeout == 20.0

    def test_a_passed_deadline_is_not_sent(self, target: str, service: Any, told: Any) -> None:
        ticks = iter([0.0])
        with (
            Client(target, clock=lambda: next(ticks, 2.0)) as client,
            pytest.raises(DeadlineExceeded, match="before the server was asked"),
        ):
            client.tables()
        assert service.requests == []
