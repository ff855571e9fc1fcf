"""Requests of a tensor a column, a batch at a time: what each of them gets alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
from cascade_proto.cells import ABSENT_STATE, FIELDS
from cascade_server.cascade.answer import Drawn, drawn_answer
from cascade_server.cascade.request import check
from cascade_server.cascade.router import choose
from cascade_server.deadline import Work
from cascade_server.engines.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.engines.student_noise import StudentNoise
from cascade_server.terms import Wanted
from cascade_server.triton_models import table_requests
from cascade_server.triton_models.outlook import Outlooks
from cascade_server.triton_models.row_tensor import ROW, ROW_STATE, RowTensor
from cascade_server.triton_models.student_batch import BatchRows, StudentBatch
from cascade_server.triton_models.table_requests import PROVENANCE, Outputs
from cascade_server.wire.model_tensors import DATATYPES
from cascade_server.wire.parameters import check_parameters
from cascade_server.wire.tensors import BYTES, DTYPES, Tensor
from cascade_tables import Codec, ColumnData, ColumnOverride, Frame, Kind, infer_schema
from numpy.typing import NDArray

from tests.releases import payments
from tests.server.triton_models.test_student_batch import ALLOWED, NAN, bundled, by_student, wide

Arrays = dict[str, NDArray[Any]]
TABLE_NAMES = ("wide", "payments", "credit", "adult")


class Table(NamedTuple):
    """A table, and a student of it that draws any token."""

    row: RowTensor
    runtime: Runtime
    quick: StudentBatch


def table_of(row: RowTensor) -> Table:
    codec = row.codec
    sizes = np.array(codec.layout.sizes)
    first = np.cumsum([0, *(sizes + 1)])[:-1]

    def draw(tokens: Tokens, observed: Mask, noise: Noise) -> Tokens:
        drawn = np.minimum((noise[:, first] * sizes).astype(np.int32), sizes - 1)
        return np.where(observed, tokens, drawn).astype(np.int32)

    manifest = SimpleNamespace(table="wide", version=1, epsilon=2.5)
    fake = SimpleNamespace(
        release=SimpleNamespace(codec=codec, manifest=manifest),
        layout=codec.layout,
        fields={name: FIELDS[kind] for name, kind in codec.kinds.items()},
        version=1,
        columns=len(codec.schema.columns),
        student_noise=int((sizes + 1).sum()),
        noise_of_student=StudentNoise(codec.layout),
        draw_student=draw,
    )
    runtime = cast(Runtime, fake)
    return Table(row, runtime, StudentBatch(row, runtime))


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    frame = payments()
    rows = {"wide": wide(), "payments": RowTensor(Codec.fit(infer_schema(frame), frame))}
    rows.update((name, bundled(name)) for name in ("credit", "adult"))
    return {name: table_of(row) for name, row in rows.items()}


class Sent(NamedTuple):
    """A request."""

    given: Arrays
    named: Sequence[str]
    how: dict[str, Any]


def alone(of: Table, sent: Sent) -> dict[str, tuple[tuple[int, ...], list[Any]]]:
    """What it is answered the way of all: shapes and elements."""
    parameters = check_parameters(sent.how, ALLOWED)
    as_row = ROW in sent.given
    wanted = Outputs(of.row).wanted(sent.named, as_row)
    inputs = {}
    for name, array in sent.given.items():
        datatype = BYTES if array.dtype == object else _name_of(array.dtype)
        flat = array.reshape(-1)
        values = flat.tolist() if datatype == BYTES else flat
        inputs[name] = Tensor(name, datatype, array.shape, values)
    if as_row:
        inputs = table_requests.as_columns(*table_requests.checked_row(sent.given, of.row), of.row)
    read = table_requests.to_request(inputs, wanted, parameters, of.row)
    request = check(read, of.runtime, Work(math.inf), 4096)
    (tokens,) = by_student([request], of.runtime)
    option = Outlooks().options(1, 1, Wanted.FAST, 0, 0.0)[1]
    route = choose((option,), math.inf, Wanted.FAST)
    drawn = Drawn(tokens, option, route, None, 0.0, 0.0)
    answer = drawn_answer(request, drawn)
    found = table_requests.to_outputs(answer, wanted, of.row)
    out = {}
    for name, each in found.items():
        values = each.values if isinstance(each.values, list) else each.values.tolist()
        out[name] = (tuple(each.shape), values)
    return out


def _name_of(dtype: np.dtype[Any]) -> str:
    return next(name for name, of in DTYPES.items() if of == dtype)


def together(of: Table, batch: Sequence[Sent]) -> tuple[list[Arrays], BatchRows]:
    """What a batch is answered, and its rows."""
    quick, asks = of.quick, []
    for each in batch:
        parameters = check_parameters(each.how, ALLOWED)
        how = quick.options(parameters, each.named, ROW in each.given)
        assert how is not None, each.named
        ask = quick.read(each.given, how)
        assert ask is not None, each.given
        asks.append(ask)
    rows = quick.encode(asks)
    ends = np.cumsum([ask.rows for ask in asks]).tolist()
    rows = rows.take(
        [
            at
            for end, ask in zip(ends, asks, strict=True)
            for at in range(end - ask.rows, end)
            for _ in range(ask.options.draws)
        ]
    )
    noise = quick.noise(asks, rows.observed)
    drawn = of.runtime.draw_student(rows.tokens, rows.observed, noise)
    return quick.decode(asks, rows, drawn), rows


def is_for_batch(of: Table, given: Arrays, named: Sequence[str], **how: Any) -> bool:
    wanted = of.quick.options(check_parameters(how, ALLOWED), named, ROW in given)
    return wanted is not None and of.quick.read(given, wanted) is not None


def some_rows(of: Table, rng: np.random.Generator, rows: int) -> Frame:
    """Rows of any tokens."""
    sizes = of.row.codec.layout.sizes
    tokens = np.stack([rng.integers(0, size, rows) for size in sizes], axis=1).astype(np.int32)
    return of.row.codec.decode(tokens, rng)


def tensor_of(of: Table, name: str, data: ColumnData) -> NDArray[Any]:
    """A column as clients send it."""
    kind = of.row.codec.kinds[name]
    if kind is Kind.CATEGORICAL:
        out = np.empty((len(data), 1), object)
        out[:, 0] = [text.encode() for text in data.values.tolist()]
        return out
    values = data.values.astype(np.int64) if kind is Kind.DATETIME else data.values
    return values.astype(DTYPES[DATATYPES[kind][0]])[:, None]


def any_request(of: Table, rng: np.random.Generator) -> Sent:
    """Some columns known, some wanted; now and then all outputs, or `row`."""
    frame = some_rows(of, rng, int(rng.integers(1, 4)))
    schema, every = of.row.codec.schema, Outputs(of.row).every
    names = [name for name in schema.names if name != "big"]
    known = [name for name in names if rng.random() < 0.6 and not frame[name].null.any()]
    if rng.random() < 0.2 or not known:
        values = np.stack(
            [of.row.codec.rows.to_numbers(at, frame[n]) for at, n in enumerate(schema.names)], 1
        )
        values[rng.random(values.shape) < 0.5] = NAN
        if "big" in schema.names:
            values[:, schema.names.index("big")] = NAN
        given: Arrays = {ROW: values}
    else:
        given = {name: tensor_of(of, name, frame[name]) for name in rng.permutation(known).tolist()}
    wanted = [name for name in names if rng.random() < 0.4] or names[:1]
    nullable = {column.name for column in schema.columns if column.nullable}
    wanted += [f"{name}.state" for name in wanted if name in nullable and rng.random() < 0.5]
    which = rng.random()
    if which < 0.15:
        wanted = [ROW, ROW_STATE, *wanted[:1]]
    elif which < 0.3 and "big" not in schema.names:
        wanted = list(every)
    elif which < 0.4:
        wanted = [PROVENANCE, *wanted]
    how = {"seed": int(rng.integers(2**63)), "draws": int(rng.integers(1, 4))}
    return Sent(given, wanted, how)


@pytest.mark.parametrize("name", TABLE_NAMES)
@pytest.mark.parametrize("seed", range(6))
def test_a_batch_gives_each_request_what_it_gets_alone(
    tables: dict[str, Table], name: str, seed: int
) -> None:
    of, rng = tables[name], np.random.default_rng(seed)
    batch = [any_request(of, rng) for _ in range(9)]
    answers, rows = together(of, batch)
    for sent, answer in zip(batch, answers, strict=True):
        expected = alone(of, sent)
        if rows.noticed:  # the cascade answers those another way
            expected.pop(PROVENANCE, None)
            answer.pop(PROVENANCE, None)
        assert list(answer) == list(expected)
        for output, (shape, values) in expected.items():
            assert answer[output].shape == shape, output
            np.testing.assert_array_equal(answer[output].ravel().tolist(), values, output)
            is_text = output == PROVENANCE or of.row.codec.kinds.get(output) is Kind.CATEGORICAL
            assert (answer[output].dtype == object) == is_text


def test_a_column_has_its_declared_type(tables: dict[str, Table]) -> None:
    of = tables["payments"]
    names = of.row.codec.schema.names
    states = ["channel.state"]
    (answer,), _ = together(of, [Sent({"items": np.array([[3]])}, [*names, *states], {"seed": 1})])
    found = {name: array.dtype.name for name, array in answer.items()}
    assert found == {
        "amount": "float64",
        "channel": "object",
        "items": "int64",
        "at": "int64",
        "member": "bool",
        "fraud": "int64",
        "channel.state": "uint8",
    }
    assert all(array.flags.c_contiguous for array in answer.values())


def test_what_is_drawn_as_null_is_empty(tables: dict[str, Table]) -> None:
    of = tables["wide"]
    kinds = of.row.codec.kinds
    nullable = [column.name for column in of.row.columns if column.nullable]
    named = [*nullable, *(f"{name}.state" for name in nullable)]
    sent = Sent({"whole_listed": np.array([[2]])}, named, {"seed": 3, "draws": 60})
    (answer,), _ = together(of, [sent])
    empty = {Kind.CATEGORICAL: b"", Kind.CONTINUOUS: NAN, Kind.BOOLEAN: False}
    seen = set()
    for name in nullable:
        for value in answer[name][answer[f"{name}.state"] == 1].tolist():
            np.testing.assert_equal(value, empty.get(kinds[name], 0))
            seen.add(kinds[name])
    assert {Kind.CATEGORICAL, Kind.BOOLEAN} <= seen


def test_who_names_no_seed_is_told_one_that_gives_the_rows_again(tables: dict[str, Table]) -> None:
    of = tables["adult"]
    named = Outputs(of.row).every
    known = {"age": np.array([[38]]), "sex": np.array([[b"Female"]], object)}
    answers, _ = together(of, [Sent(known, named, {}) for _ in range(3)])
    seeds = set()
    for answer in answers:
        text = answer[PROVENANCE][0, 0].decode()
        seeds.add(text)
        seed = int(text.split('"seed": ')[1].split(",")[0])
        again = alone(of, Sent(known, named, {"seed": seed}))
        assert again == {
            name: (array.shape, array.ravel().tolist()) for name, array in answer.items()
        }
    assert len(seeds) == 3


def test_what_is_told_of_a_value_is_left_to_the_codec(tables: dict[str, Table]) -> None:
    of = tables["wide"]
    named = ["real_listed"]
    (answer,), rows = together(of, [Sent({"real_listed": np.array([[0.75]])}, named, {"seed": 1})])
    assert rows.noticed
    assert answer["real_listed"].tolist() == [[0.75]]
    _, rows = together(of, [Sent({"real_listed": np.array([[0.5]])}, named, {"seed": 1})])
    assert not rows.noticed


ONE = np.array([[1]])


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"label": np.array([[b"zebra"]], object)}, ["flag"]),  # folds, of which there is a notice
        ({"label": np.array([[b"\xff"]], object)}, ["flag"]),
        ({"real": np.array([[NAN]])}, ["flag"]),
        ({"real": np.array([[math.inf]])}, ["flag"]),
        ({"big": np.array([[2**60 + 1]])}, ["flag"]),
        ({"whole": ONE}, ["big"]),
        ({"whole": ONE, "whole_listed": np.array([[1], [2]])}, ["flag"]),
        ({"whole_listed": np.array([[1], [2]]), "whole": ONE}, ["flag"]),
        ({"colour": ONE}, ["flag"]),
        ({"whole": ONE, "flag.state": np.array([[2]], np.uint8)}, ["flag"]),
        ({"whole": ONE, ROW: np.full((1, 8), NAN)}, ["flag"]),
        ({"whole": ONE}, ["flag", "log_likelihood"]),
        ({"whole": np.zeros((0, 1), np.int64)}, ["flag"]),
        ({"whole": np.zeros((65, 1), np.int64)}, ["flag"]),
        ({}, ["flag"]),
    ],
)
def test_what_is_unusual_goes_the_way_of_all(
    tables: dict[str, Table], given: Arrays, named: list[str]
) -> None:
    of = tables["wide"]
    assert is_for_batch(of, {"whole": ONE}, ["flag"])
    assert is_for_batch(of, {"whole": ONE}, ["real", "whole", "real_listed.state"])
    assert not is_for_batch(of, given, named)


@pytest.mark.parametrize(
    "given",
    [
        {"whole": np.array([[10**6]])},
        {"whole": np.array([[-(2**53) + 1]]), "flag": np.array([[True]])},
        {"real": np.array([[1e9]])},
        {"real": np.array([[1.0], [-1e9]]), "whole": np.array([[3], [-(10**9)]])},
    ],
)
def test_a_number_that_was_never_learnt_changes_no_other_request(
    tables: dict[str, Table], given: Arrays
) -> None:
    of = tables["wide"]
    named = ["flag", "label", "whole", "real"]
    batch = [
        Sent(each, named, {"seed": 4}) for each in ({"whole": ONE}, given, {"real": ONE * 1.0})
    ]
    answers, rows = together(of, batch)
    assert rows.noticed
    for sent, answer in zip(batch, answers, strict=True):
        assert {name: (array.shape, decoded(array)) for name, array in answer.items()} == alone(
            of, sent
        )
    for name, array in given.items():
        if name in named:
            np.testing.assert_array_equal(answers[1][name], array)


def test_a_number_that_no_float_tells_apart_goes_the_way_of_all(tables: dict[str, Table]) -> None:
    """It is to come back as it came."""
    of = tables["wide"]
    for number in (2**53 + 1, -(2**53) - 1):
        assert not is_for_batch(of, {"whole": np.array([[number]])}, ["flag"])
    assert is_for_batch(of, {"whole": np.array([[2**53 - 1]])}, ["flag"])
    assert is_for_batch(of, {"real": np.array([[1e300]])}, ["flag"])


def decoded(array: NDArray[Any]) -> list[Any]:
    """A tensor's elements, one after the other."""
    flat: list[Any] = array.ravel().tolist()
    return flat


@pytest.mark.parametrize(
    ("other", "place", "state"), [(None, NAN, ABSENT_STATE), ("(other)", 3.0, 0)]
)
def test_a_category_that_is_none_has_a_place_in_row_only_where_it_folds(
    other: str | None, place: float, state: int
) -> None:
    frame = payments()
    schema = infer_schema(frame, {"channel": ColumnOverride(other=other)})
    of, column = table_of(RowTensor(Codec.fit(schema, frame))), "channel"
    given = np.empty((1, 1), object)
    given[0, 0] = b"never seen"
    found = alone(of, Sent({column: given}, [ROW, ROW_STATE, column], {"seed": 1}))
    at = of.row.codec.schema.names.index(column)
    np.testing.assert_array_equal(found[ROW][1][at], place)
    assert found[ROW_STATE][1][at] == state
    assert found[column][1] == [b"never seen"]


def named_like(*names: str) -> Table:
    """A table with columns of some names."""
    rng = np.random.default_rng(0)
    none = np.zeros(500, bool)
    frame = Frame({name: ColumnData(rng.integers(0, 9, 500), none) for name in names})
    return table_of(RowTensor(Codec.fit(infer_schema(frame), frame)))


def test_a_column_named_like_a_state_is_a_column() -> None:
    of = named_like("a", "a.state")
    sent = Sent({"a.state": np.array([[7]])}, ["a", "a.state"], {"seed": 1})
    (answer,), _ = together(of, [sent])
    assert {name: array.ravel().tolist() for name, array in answer.items()} == {
        name: values for name, (_, values) in alone(of, sent).items()
    }
    assert answer["a.state"].tolist() == [[7]]


@pytest.mark.parametrize("name", ["log_likelihood", PROVENANCE])
def test_outputs_that_mean_more_than_a_column_go_the_way_of_all(name: str) -> None:
    of = named_like("a", name)
    assert not is_for_batch(of, {"a": ONE}, [name])
    assert is_for_batch(of, {name: ONE}, ["a"])
