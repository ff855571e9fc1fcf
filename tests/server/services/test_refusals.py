"""Bad requests: the status that fits, the culprit, what is allowed; and the server goes on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_server.errors import BadRequest, refusal_of

from tests.releases import TABLE
from tests.server.conftest import MAX_MESSAGE_BYTES
from tests.server.messages import ask, column, read, row, rows
from tests.server.running import Running, running

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


def one(*columns: Any, count: int = 1) -> pb.Rows:
    return pb.Rows(count=count, columns=columns)


SYNTHESIZE: dict[str, tuple[Any, grpc.StatusCode, list[str]]] = {
    "unknown table": (ask(table="paymets"), NOT_FOUND, ["'paymets'", "payments, shops", "mean"]),
    "no table": (ask(table=""), NOT_FOUND, ["''", "payments"]),
    "unknown version": (ask(version=2), NOT_FOUND, ["version 2", "1, 3"]),
    "negative version": (ask(version=-1), NOT_FOUND, ["version -1", "1, 3"]),
    "unknown column": (ask(one(column("amout", [1.0]))), INVALID, ["'amout'", "mean 'amount'"]),
    "column left out": (
        ask(row(member=True), table="shops"),
        INVALID,
        ["'member'", "left out: asked for in the overrides"],
    ),
    "unknown category": (
        ask(row(channel="fax"), strict=True),
        INVALID,
        ["'channel'", "'fax'", "web", "NULL"],
    ),
    "below": (
        ask(row(amount=-0.01), strict=True),
        INVALID,
        ["'amount'", "-0.01", "numbers from 0 to"],
    ),
    "above": (
        ask(row(items=9), strict=True),
        INVALID,
        ["'items'", "9", "whole numbers from 1 to 8"],
    ),
    "NaN": (
        ask(row(amount=math.nan), strict=True),
        INVALID,
        ["'amount'", "nan", "numbers from 0 to"],
    ),
    "infinity": (
        ask(row(amount=math.inf), strict=True),
        INVALID,
        ["'amount'", "inf", "numbers from 0 to"],
    ),
    "time out of range": (
        ask(row(at=0), strict=True),
        INVALID,
        ["'at'", "date-times from 2026-01-01"],
    ),
    "NULL where there is none": (
        ask(row(items=None), strict=True),
        INVALID,
        ["'items'", "None", "not NULL"],
    ),
    "several, strictly": (
        ask(rows(3, items=[0, 3, 9], channel=["web", "fax", None]), strict=True),
        INVALID,
        [
            "3 values are not allowed: 'items' row 0 0, 'items' row 2 9, 'channel' row 1 'fax'; ",
            "'items': whole numbers from 1 to 8",
            "'channel': one of",
        ],
    ),
    "what no whole number can be": (
        ask(one(column("items", [math.inf], kind="doubles"))),
        INVALID,
        ["'items'", "inf", "whole numbers"],
    ),
    "beyond 64 bits": (
        ask(one(column("items", [1e300], kind="doubles"))),
        INVALID,
        ["'items'", "1e+300", "whole numbers"],
    ),
    "text for a number": (
        ask(one(column("amount", ["12"], kind="strings"))),
        INVALID,
        ["'amount'", "'12'", "numbers from 0 to"],
    ),
    "a number for a category": (
        ask(one(column("channel", [1], kind="integers"))),
        INVALID,
        ["'channel'", "1", "one of"],
    ),
    "a number for a boolean": (
        ask(one(column("member", [1], kind="integers"))),
        INVALID,
        ["'member'", "1", "true or false"],
    ),
    "a boolean for a number": (
        ask(one(column("items", [True], kind="booleans"))),
        INVALID,
        ["'items'", "True", "whole numbers"],
    ),
    "a fraction for a whole number": (
        ask(one(column("items", [2.5], kind="doubles"))),
        INVALID,
        ["'items'", "2.5", "whole numbers"],
    ),
    "0 draws": (ask(draws=0), INVALID, ["draws is 0", "1 to 4,096"]),
    "too many draws": (ask(draws=4097), INVALID, ["draws is 4,097", "1 to 4,096"]),
    "too many draws for its rows": (
        ask(rows(3, items=[1, 2, 3]), draws=1366),
        INVALID,
        ["draws is 1,366 for 3 rows", "1 to 1,365"],
    ),
    "too many rows": (ask(pb.Rows(count=4097)), INVALID, ["4,097 rows", "too many rows", "4,096"]),
    "no rows": (ask(pb.Rows()), INVALID, ["rows.count is 0", "at least 1"]),
    "unknown column wanted": (ask(columns=["amout"]), INVALID, ["'amout'", "'amount'"]),
    "column wanted twice": (ask(columns=["at", "items", "at"]), INVALID, ["'at' is named twice"]),
    "column given twice": (
        ask(one(column("items", [1]), column("items", [1]))),
        INVALID,
        ["'items' is listed twice"],
    ),
    "too few values": (
        ask(one(column("items", [1]), count=2)),
        INVALID,
        ["'items' has 1 values", "expected 2"],
    ),
    "too few states": (
        ask(one(column("items", [1, 2], states=[0]), count=2)),
        INVALID,
        ["'items'", "1 states", "expected 2"],
    ),
    "unknown state": (
        ask(one(column("items", [1], states=[3]))),
        INVALID,
        ["'items'", "state 3", "0 observed, 1 NULL, 2 absent"],
    ),
    "neither values nor states": (ask(one(pb.Column(name="items"))), INVALID, ["'items'"]),
    "observed without a value": (
        ask(one(pb.Column(name="items", states=b"\x00"))),
        INVALID,
        ["'items'", "row 0 without a value"],
    ),
    "unknown fidelity": (ask(fidelity=9), INVALID, ["fidelity is 9", "FIDELITY_FULL"]),
}

GENERATE: dict[str, tuple[Any, grpc.StatusCode, list[str]]] = {
    "unknown table": (pb.GenerateRequest(table="nope", count=1), NOT_FOUND, ["'nope'"]),
    "no rows": (pb.GenerateRequest(table=TABLE), INVALID, ["count is 0", "1 to 100,000"]),
    "too many rows": (
        pb.GenerateRequest(table=TABLE, count=100_001),
        INVALID,
        ["count is 100,001", "1 to 100,000"],
    ),
    "two rows given": (
        pb.GenerateRequest(table=TABLE, count=1, given=rows(2, items=[1, 2])),
        INVALID,
        ["given.count is 2", "1, the shared row"],
    ),
    "unknown category given": (
        pb.GenerateRequest(table=TABLE, count=1, given=row(channel="fax")),
        INVALID,
        ["'channel'", "'fax'", "web"],
    ),
    "a number beyond the bounds given": (
        pb.GenerateRequest(table=TABLE, count=1, given=row(items=9)),
        INVALID,
        ["'items'", "9", "whole numbers from 1 to 8"],
    ),
    "unknown column wanted": (
        pb.GenerateRequest(table=TABLE, count=1, columns=["nope"]),
        INVALID,
        ["'nope'", "amount"],
    ),
}


METHODS = [
    "Synthesize",
    "Generate",
    "ListTables",
    "DescribeTable",
    "GetStatistics",
    "GetServiceLevel",
]


def refused(call: Any, code: grpc.StatusCode, words: list[str]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    assert error.code() is code, error.details()
    assert [word for word in words if word not in error.details()] == []


def still_answers(serving: Running) -> None:
    assert read(serving.stub.Synthesize(ask(row(items=3))).rows)["items"] == [3]


@pytest.mark.parametrize(("request_", "code", "words"), SYNTHESIZE.values(), ids=SYNTHESIZE.keys())
def test_synthesize(
    serving: Running, request_: Any, code: grpc.StatusCode, words: list[str]
) -> None:
    refused(lambda: serving.stub.Synthesize(request_), code, words)
    still_answers(serving)


@pytest.mark.parametrize(("request_", "code", "words"), GENERATE.values(), ids=GENERATE.keys())
def test_generate(serving: Running, request_: Any, code: grpc.StatusCode, words: list[str]) -> None:
    refused(lambda: list(serving.stub.Generate(request_)), code, words)
    still_answers(serving)


def test_describe(serving: Running) -> None:
    for request, words in (
        (pb.DescribeTableRequest(table="nope"), ["'nope'", "payments"]),
        (pb.DescribeTableRequest(table=TABLE, version=9), ["version 9", "1, 3"]),
    ):
        refused(lambda request=request: serving.stub.DescribeTable(request), NOT_FOUND, words)


@pytest.mark.parametrize("method", METHODS)
def test_a_message_that_cannot_be_parsed(serving: Running, method: str) -> None:
    call = serving.channel.unary_stream(f"/cascade.v1.Synthesis/{method}")
    refused(lambda: list(call(b"\xff\xff\xff")), INVALID, [f"cascade.v1.{method}Request"])
    still_answers(serving)


def test_a_message_that_is_too_large(serving: Running) -> None:
    request = ask(row(channel="x" * MAX_MESSAGE_BYTES))
    words = [f"larger than max ({request.ByteSize()} vs. {MAX_MESSAGE_BYTES})"]
    refused(lambda: serving.stub.Synthesize(request), grpc.StatusCode.RESOURCE_EXHAUSTED, words)
    still_answers(serving)


def test_a_long_value_is_cut_in_the_message(serving: Running) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        serving.stub.Synthesize(ask(row(channel="x" * 10_000), strict=True))
    error: Any = caught.value
    assert len(error.details()) < 300


LONG = "x" * 50_000


@pytest.mark.parametrize(
    ("request_", "code", "begins"),
    [
        (ask(table=LONG), grpc.StatusCode.NOT_FOUND, "unknown table 'xxx"),
        (ask(columns=[LONG]), grpc.StatusCode.INVALID_ARGUMENT, "unknown column 'xxx"),
        (ask(row(**{LONG: 1.0})), grpc.StatusCode.INVALID_ARGUMENT, "unknown column 'xxx"),
        (
            ask(pb.Rows(count=1, columns=[pb.Column(name=LONG)])),
            grpc.StatusCode.INVALID_ARGUMENT,
            "rows: column 'xxx",
        ),
    ],
)
def test_a_long_name_leaves_a_refusal_its_status(
    repository: Path, request_: Any, code: grpc.StatusCode, begins: str
) -> None:
    """Callers accept some 8 KiB of trailers, and take more for a server that is full."""
    config = ServerConfig(repository=repository, port=0, max_message_bytes=2**20)
    with running(config) as server, pytest.raises(grpc.RpcError) as caught:
        server.stub.Synthesize(request_)
    error: Any = caught.value
    assert error.code() is code
    assert error.details().startswith(begins)
    assert len(error.details()) < 3000


def test_whatever_is_said_is_short_and_begins_with_the_reason() -> None:
    refusal = refusal_of(BadRequest("draws is 0; allowed: " + "1, " * 10_000))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.message.startswith("draws is 0; allowed: 1, ")
    assert refusal.message.endswith("(cut; it has 30,021 characters)")
    assert len(refusal.message) < 2100


def test_what_nobody_foresaw_is_internal_without_its_trace(
    serving: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the secret of line 42")

    monkeypatch.setattr("cascade_server.cascade.packing.timings", broken)
    with pytest.raises(grpc.RpcError) as caught:
        serving.stub.Synthesize(ask())
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    reference = error.details().split()[-1]
    unforeseen, of_the_call = caplog.records
    assert reference in unforeseen.getMessage()
    assert of_the_call.fields["reference"] == reference  # type: ignore[attr-defined]
    assert "the secret of line 42" in caplog.text
