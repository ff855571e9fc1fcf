"""Values that were never learnt are answered: given back as they came, named, counted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig

from tests.server.messages import COLUMNS, ROW, ask, read, row, rows
from tests.server.running import DRAWN_ANEW, Running, running

BELOW, ABOVE, CATEGORY = (
    pb.OUTSIDE_KIND_BELOW,
    pb.OUTSIDE_KIND_ABOVE,
    pb.OUTSIDE_KIND_CATEGORY,
)
NULL, NOT_A_NUMBER = pb.OUTSIDE_KIND_NULL, pb.OUTSIDE_KIND_NOT_A_NUMBER
FIDELITIES = ["FIDELITY_FAST", "FIDELITY_FULL"]
# Of `payments`: a value, how it is outside, and what it is conditioned on.
OUTSIDE: list[tuple[str, Any, int, str | None]] = [
    ("amount", -0.01, BELOW, "0"),
    ("amount", 1e12, ABOVE, "any"),
    ("amount", math.inf, ABOVE, "any"),
    ("items", 9, ABOVE, "8"),
    ("items", -(2**63), BELOW, "1"),
    ("items", None, NULL, None),
    ("at", 0, BELOW, "any"),
    ("at", -(2**63), BELOW, "any"),
    ("at", 2**63 - 1, ABOVE, "any"),
    ("at", None, NULL, None),
    ("channel", "fax", CATEGORY, None),
    ("channel", "", CATEGORY, None),
    ("member", None, NULL, None),
    ("amount", None, NULL, None),
]


def named(
    answer: pb.SynthesizeResponse | pb.GenerateResponse,
) -> list[tuple[str, int, int, str | None]]:
    return [
        (each.column, each.row, each.kind, each.conditioned_on if _is_set(each) else None)
        for each in answer.provenance.outside_values
    ]


def _is_set(value: pb.OutsideValue) -> bool:
    return value.HasField("conditioned_on")


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("name", "value", "kind", "nearest"), OUTSIDE)
def test_it_is_answered_given_back_and_named(
    serving: Running,
    name: str,
    value: Any,
    kind: int,
    nearest: str | None,
    count: int,
    fidelity: Any,
) -> None:
    """Beside rows with nothing special, which it does not concern."""
    values = [ROW[name]] * (count - 1) + [value]
    request = ask(rows(count, **{name: values}), draws=2, fidelity=fidelity)
    answer = serving.stub.Synthesize(request)
    found = read(answer.rows)
    assert tuple(found) == COLUMNS
    assert found[name] == [each for each in values for _ in range(2)]
    [(column, place, of_kind, on)] = named(answer)
    assert (column, place, of_kind) == (name, count - 1, kind)
    assert (on is None) == (nearest is None)
    assert nearest in (on, "any")
    [total] = answer.provenance.outside_totals
    assert (total.column, total.kind, total.values) == (name, kind, 1)
    [notice] = answer.provenance.notices
    assert notice.startswith(f"column {name!r}: ")


@pytest.mark.parametrize("count", [1, 3])
def test_not_a_number_comes_back(serving: Running, count: int) -> None:
    answer = serving.stub.Synthesize(ask(rows(count, amount=[math.nan] * count)))
    assert all(map(math.isnan, read(answer.rows)["amount"]))
    assert [each[2:] for each in named(answer)] == [(NOT_A_NUMBER, None)] * count


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize(
    ("value", "like"), [({"items": 99}, {"items": 8}), ({"channel": "fax"}, {}), ({"at": None}, {})]
)
def test_the_rest_is_drawn_for_the_nearest_value_or_as_if_it_were_not_known(
    serving: Running, value: dict[str, Any], like: dict[str, Any], fidelity: Any
) -> None:
    def drawn(**given: Any) -> Any:
        request = ask(row(**given), draws=50, seed=1, fidelity=fidelity)
        found = read(serving.stub.Synthesize(request).rows)
        # A column that is not returned is one whose place in its bin is not drawn either.
        return found["member"], found["fraud"]

    assert drawn(**value) == drawn(**like)


def test_a_row_with_everything_outside_is_answered(serving: Running) -> None:
    given = {"amount": -1.0, "channel": "fax", "items": 0, "at": 0, "member": None, "fraud": 7}
    answer = serving.stub.Synthesize(ask(row(**given)))
    assert read(answer.rows) == {name: [value] for name, value in given.items()}
    assert [each[0] for each in named(answer)] == list(given)


def test_what_was_learnt_is_not_named(serving: Running) -> None:
    provenance = serving.stub.Synthesize(ask(row(**ROW))).provenance
    assert not provenance.outside_values
    assert not provenance.outside_totals
    assert not provenance.notices


def test_of_many_the_first_are_named_and_all_are_counted(serving: Running) -> None:
    count = 2000
    request = ask(rows(count, items=[9] * count), columns=["fraud"], fidelity="FIDELITY_FAST")
    provenance = serving.stub.Synthesize(request).provenance
    assert [each.row for each in provenance.outside_values] == list(range(100))
    assert [each.values for each in provenance.outside_totals] == [count]
    assert len(provenance.notices) == 1


def test_its_likelihood_is_that_of_what_it_is_conditioned_on(serving: Running) -> None:
    def of(given: pb.Rows) -> list[float]:
        return list(serving.stub.Synthesize(ask(given, log_likelihood=True)).log_likelihood)

    assert of(rows(2, items=[9, 8])) == of(rows(2, items=[8, 8]))
    assert of(row(channel="fax")) == [0.0]


def test_in_a_stream_it_is_answered_too_and_refused_only_strictly(serving: Running) -> None:
    requests = [
        pb.StreamedRequest(id=1, request=ask(row(items=9))),
        pb.StreamedRequest(id=2, request=ask(row(items=9), strict=True)),
        pb.StreamedRequest(id=3, request=ask(row(items=3), strict=True)),
    ]
    messages = iter([pb.SynthesizeStreamRequest(requests=requests)])
    answers = {
        answer.id: answer
        for message in serving.stub.SynthesizeStream(messages)
        for answer in message.answers
    }
    assert read(answers[1].response.rows)["items"] == [9]
    assert len(named(answers[1].response)) == 1
    assert answers[2].failure.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "'items': 9 is not allowed" in answers[2].failure.message
    assert read(answers[3].response.rows)["items"] == [3]


def test_strictly_a_category_that_folds_is_still_answered(serving: Running) -> None:
    answer = serving.stub.Synthesize(ask(row(channel="fax"), table="shops", strict=True))
    assert named(answer) == [("channel", 0, CATEGORY, "(other)")]


@pytest.mark.parametrize("kept", ["cache_bytes", "pool_bytes"])
def test_an_answer_that_was_kept_names_what_its_own_request_had(
    repository: Path, kept: str
) -> None:
    """Both are conditioned alike, and yet each is given back its own value, by name."""
    config = ServerConfig(repository=repository, port=0, **{**DRAWN_ANEW, kept: 2**20})
    seed = {"seed": 5} if kept == "cache_bytes" else {}
    with running(config) as server:
        for items in (8, 9, 10, 9, 8):
            answer = server.stub.Synthesize(ask(row(items=items), fidelity="FIDELITY_FAST", **seed))
            assert read(answer.rows)["items"] == [items]
            expected = [] if items == 8 else [("items", 0, ABOVE, "8")]
            assert named(answer) == expected
            again = ask(row(items=items), fidelity="FIDELITY_FAST", strict=True, **seed)
            if items == 8:
                assert read(server.stub.Synthesize(again).rows)["items"] == [8]
            else:
                with pytest.raises(grpc.RpcError, match=r"not allowed"):
                    server.stub.Synthesize(again)


def test_they_are_counted_by_table_column_and_kind(repository: Path) -> None:
    config = ServerConfig(repository=repository, port=0, **DRAWN_ANEW)
    with running(config) as server:
        server.stub.Synthesize(ask(rows(3, items=[9, 10, 0], channel=["fax", "web", None])))
        server.stub.Synthesize(ask(row(items=9), draws=7))
        server.stub.Synthesize(ask(row(channel="fax"), table="shops"))
        with pytest.raises(grpc.RpcError):
            server.stub.Synthesize(ask(row(items=9), strict=True))
        found = server.stub.GetStatistics(pb.GetStatisticsRequest()).outside
    assert {(each.table, each.column, each.kind): each.values for each in found} == {
        ("payments", "items", ABOVE): 3,
        ("payments", "items", BELOW): 1,
        ("payments", "channel", CATEGORY): 1,
        ("shops", "channel", CATEGORY): 1,
    }


def test_each_message_of_generate_names_what_folds(serving: Running) -> None:
    request = pb.GenerateRequest(table="shops", count=100, given=row(channel="fax"))
    messages = list(serving.stub.Generate(request))
    assert len(messages) > 1
    for message in messages:
        assert set(read(message.rows)["channel"]) == {"fax"}
        assert named(message) == [("channel", 0, CATEGORY, "(other)")]
