"""A server answers alike but for its timings, whether its codec was compiled or not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_tables.codecs.native.library import load_library

from tests.releases import make_release
from tests.server.messages import ABSENT, COLUMNS, NULL, ROW, ask, column, row, rows
from tests.server.running import DRAWN_ANEW, Running, running

pytestmark = pytest.mark.skipif(
    isinstance(load_library(), str), reason="the compiled codec was not built"
)
NATIVE = "cascade_tables.codecs.native"
FAST, FULL = pb.FIDELITY_FAST, pb.FIDELITY_FULL


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    make_release(folder)
    return folder


@pytest.fixture(scope="module")
def both(models: Path) -> Iterator[tuple[Running, Running]]:
    """A server with the compiled codec, and one without."""
    config = ServerConfig(repository=models, port=0, **DRAWN_ANEW)
    with running(config) as compiled, pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{NATIVE}.row_codec.load_library", lambda: "there is none")
        with running(config) as plain:
            (runtime,) = plain.server.service.dispatcher.engines
            assert runtime.release.codec.compiled is None
            yield compiled, plain


def without(late: str) -> dict[str, Any]:
    return {name: value for name, value in ROW.items() if name != late}


def some(**cells: Any) -> pb.Rows:
    """A row like any other but for some cells."""
    return row(**(ROW | cells))


def also(given: pb.Rows, *columns: pb.Column) -> pb.Rows:
    given.columns.extend(columns)
    return given


WEB = ask(row(channel="web")).SerializeToString()
REQUESTS: dict[str, pb.SynthesizeRequest | bytes] = {
    "nothing": ask(),
    **{f"without {name}": ask(row(**without(name))) for name in COLUMNS},
    "late, and only what is late": ask(row(**without("amount")), columns=["amount"]),
    "in another order": ask(row(**without("at")), columns=["fraud", "at", "amount", "channel"]),
    "all is known": ask(row(**ROW)),
    "whole": ask(columns=list(COLUMNS[::-1])),
    "draws": ask(row(channel="web"), draws=9),
    "no draws": ask(draws=0),
    "too many draws": ask(draws=2**32 - 1),
    "NULL": ask(rows(channel=[None])),
    "NULL where there was none": ask(rows(items=[None])),
    "strict": ask(rows(items=[None]), strict=True),
    "absent": ask(also(row(amount=1.0), column("items", [0], states=[ABSENT]))),
    "NULL without a value": ask(also(row(), pb.Column(name="channel", states=b"\1"))),
    "NULL of another kind": ask(also(row(), column("channel", [0.5], "doubles", [NULL]))),
    "far away": ask(some(amount=1e9, items=500)),
    "far away, strictly": ask(some(amount=-1e9), strict=True),
    "not a number": ask(some(amount=math.nan)),
    "a category that is none": ask(some(channel="fax")),
    "whole numbers for real ones": ask(also(row(), column("amount", [12], "integers"))),
    "real numbers for whole ones": ask(also(row(), column("items", [3.0], "doubles"))),
    "half a number": ask(also(row(), column("items", [3.5], "doubles"))),
    "text for a number": ask(also(row(), column("items", ["three"], "strings"))),
    "no such column": ask(row(nobody=1.0)),
    "very many columns to return": ask(columns=["amount"] * 2000),
    "no such column to return": ask(columns=["nobody"]),
    "a column to return twice": ask(columns=["amount", "amount"]),
    "a column twice": ask(also(row(amount=1.0), column("amount", [2.0]))),
    "neither value nor state": ask(pb.Rows(count=1, columns=[pb.Column(name="amount")])),
    "two values": ask(pb.Rows(count=1, columns=[column("amount", [1.0, 2.0])])),
    "a state that is none": ask(also(row(), column("amount", [1.0], states=[7]))),
    "no rows": ask(pb.Rows()),
    "three rows": ask(rows(3, amount=[1.0, 2.0, 3.0], channel=["web", None, "fax"])),
    "first row": ask(row(channel="app"), first_row=2**32 - 1),
    "first row too far": ask(row(channel="app"), first_row=2**32),
    "explained": ask(row(channel="app"), explain=True),
    "by the teacher": ask(row(channel="app"), fidelity=FULL),
    "log-likelihood": ask(row(**without("amount")), log_likelihood=True),
    "offline": ask(row(channel="app"), offline=True, fidelity=FAST),
    "no such version": ask(version=9),
    "a negative version": ask(version=-1),
    "no such table": ask(table="nobody"),
    "a table that is no text": b"\x0a\x02\xff\xfe\x1a\x02\x08\x01",
    "a category that is no text": WEB.replace(b"web", b"w\xff\xfe"),
    "cut short": ask(row(**ROW)).SerializeToString()[:-3],
    "a field of a later version": WEB + b"\xa0\x06\x07",
    "rows in two parts": (
        WEB + pb.SynthesizeRequest(rows=pb.Rows(columns=row(items=3).columns)).SerializeToString()
    ),
    "numbers that are not packed": (
        b"\x0a\x08payments\x1a\x17\x08\x01\x12\x13\x0a\x06amount\x12\x09\x09"
        + b"\x29\x5c\x8f\xc2\xf5\xa8\x28\x40"
    ),
    "empty": b"",
}


def told(server: Running, request: pb.SynthesizeRequest | bytes, seed: int) -> Any:
    """The answer without its timings, or the refusal."""
    if not isinstance(request, bytes):
        seeded = pb.SynthesizeRequest()
        seeded.CopyFrom(request)
        seeded.seed = seed
        request = seeded.SerializeToString()
    else:
        request += pb.SynthesizeRequest(seed=seed).SerializeToString()
    call = server.channel.unary_unary("/cascade.v1.Synthesis/Synthesize")
    try:
        answer = pb.SynthesizeResponse.FromString(call(request, timeout=60))
    except grpc.RpcError as exc:
        error: Any = exc
        return error.code(), error.details()
    answer.provenance.ClearField("timings")
    for option in answer.provenance.routing.considered:
        option.predicted = 0
    answer.provenance.routing.reason = ""
    return answer.SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_requests_are_answered_alike(both: tuple[Running, Running], name: str, seed: int) -> None:
    scanned = [told(server, REQUESTS[name], seed) for server in both]
    # Where protobuf has read all of the message before, as on a stream.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{NATIVE}.scanning.load_library", lambda: "there is none")
        parsed = [told(server, REQUESTS[name], seed) for server in both]
    assert scanned == parsed == [parsed[1]] * 2


def test_the_same_is_counted(both: tuple[Running, Running]) -> None:
    """Calls by how they ended, of both servers, and values that were never learnt."""
    before = [counted(server) for server in both]
    for request in REQUESTS.values():
        told(both[0], request, 3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{NATIVE}.scanning.load_library", lambda: "there is none")
            told(both[1], request, 3)
    compiled, plain = (
        {key: number - earlier.get(key, 0) for key, number in counted(server).items()}
        for server, earlier in zip(both, before, strict=True)
    )
    assert compiled == plain
    assert sum(compiled.values()) >= len(REQUESTS)


def counted(server: Running) -> dict[Any, int]:
    calls = server.server.sla.ledger.book.calls
    found = dict(zip(calls.keys, calls.durations.sum(axis=1).tolist(), strict=True))
    outside = server.run(statistics(server)).outside
    return found | {(each.column, each.kind): each.values for each in outside}


async def statistics(server: Running) -> pb.GetStatisticsResponse:
    return server.server.service.own_statistics()
