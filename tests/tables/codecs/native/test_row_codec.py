"""The compiled way of one row does what the codec's own does, or says that it is not for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.cells import FIELDS, NULL_CELL, PLACEHOLDERS
from cascade_tables import (
    ABSENT,
    Codec,
    ColumnOverride,
    Frame,
    RareRule,
    UnknownColumn,
    ValueNotAllowed,
    WireRow,
    infer_schema,
    scan_request,
)
from cascade_tables.codecs.native.library import load_library
from cascade_tables.codecs.native.row_codec import RowCodec
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests import ledgers
from tests.releases import every_kind

pytestmark = pytest.mark.skipif(
    isinstance(load_library(), str), reason="the compiled codec was not built"
)
ROWS = 2_000


def everything() -> Frame:
    """Columns of every kind, listed and binned, some with NULL, point masses or decimals, and two
    whose rare categories share a token."""
    rng = np.random.default_rng(0)

    def some_null(values: Sequence[Any]) -> list[Any]:
        is_null = rng.random(ROWS) < 0.1
        return [None if null else value for value, null in zip(values, is_null, strict=True)]

    cents = np.round(rng.gamma(2.0, 40.0, ROWS), 2)
    shops = [f"shop {rank}" for rank in rng.zipf(1.6, ROWS) % 200]
    moments = 1_700_000_000_000_000 + rng.integers(0, 10**15, ROWS)
    columns = {
        "channel": some_null(
            [["web", "shop", "телефон", ""][at] for at in rng.integers(0, 4, ROWS)]
        ),
        "member": some_null((rng.random(ROWS) < 0.5).tolist()),
        "fraud": (rng.random(ROWS) < 0.1).tolist(),
        "items": rng.integers(-3, 9, ROWS).tolist(),
        "steps": some_null((rng.integers(0, 5, ROWS) * 2.5 - 2.5).tolist()),
        "amount": np.where(rng.random(ROWS) < 0.4, 0.0, cents).tolist(),
        "score": some_null(rng.normal(size=ROWS).tolist()),
        "count": some_null((rng.integers(0, 10**6, ROWS) * 5).tolist()),
        "vast": rng.integers(-(2**62), 2**62, ROWS).tolist(),
        "at": pa.array(moments.tolist(), pa.timestamp("us")),
        "shop": shops,
        "city": shops[::-1],
    }
    return Frame.from_arrow(pa.table(columns))


@cache
def wide() -> Codec:
    """Its codec: one column folds into groups, and one into a single one."""
    frame = everything()
    few = {"shop": ColumnOverride(max_categories=20), "city": ColumnOverride(max_categories=4)}
    return Codec.fit(infer_schema(frame, few, rule=RareRule(min_count=5)), frame)


CODECS: dict[str, Callable[[], Codec]] = {
    "wide": wide,
    "ledger": ledgers.codec,
    "settlements": ledgers.settlements_codec,
    "every kind": cache(every_kind),
}


def compiled(codec: Codec) -> RowCodec:
    found = codec.compiled
    assert found is not None
    return found


def field_of(value: Any) -> str:
    if isinstance(value, bool):
        return "booleans"
    return {int: "integers", float: "doubles", str: "strings"}[type(value)]


def add_cell(rows: pb.Rows, name: str, value: Any, field: str) -> None:
    """A cell as clients write it; `field` is what a NULL is written with, if with anything."""
    column = rows.columns.add(name=name)
    if value is None or value is ABSENT:
        column.states = NULL_CELL if value is None else b"\2"
        if field:
            getattr(column, field).values.append(PLACEHOLDERS[field])
    else:
        getattr(column, field_of(value)).values.append(value)


def wire_row(rows: pb.Rows) -> WireRow:
    """As it lies in a message, with other bytes around it."""

    def read() -> Mapping[str, list[Any]]:
        out = {}
        for column in rows.columns:
            which = column.WhichOneof("values")
            if column.states in (NULL_CELL, b"\2"):
                out[column.name] = [None if column.states == NULL_CELL else ABSENT]
            else:
                assert which is not None
                out[column.name] = list(getattr(column, which).values)
        return out

    content = rows.SerializeToString()
    return WireRow(b"\x0a\x03" + content + b"\xff", 2, len(content), read)


ODD = st.one_of(
    st.none(),
    st.just(ABSENT),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-5, 20),
    st.floats(),
    st.sampled_from([0.0, -0.0, 2.5, 1e300, math.nan]),
    st.text(max_size=4),
    st.sampled_from(["web", "shop 1", "(other)", "shop 77", "nowhere", "\x00"]),
)


def uniform_numbers(seed: int, codec: Codec) -> Callable[[Sequence[int]], NDArray[np.float64]]:
    numbers = np.random.default_rng(seed).random((len(codec.columns), 1))
    return lambda columns: numbers[list(columns)]


def random_tokens(codec: Codec, seed: int) -> NDArray[np.int32]:
    sizes = np.array(codec.layout.sizes)
    return (np.random.default_rng(seed).random(len(sizes)) * sizes).astype(np.int32)


def learnt_cells(codec: Codec, seed: int) -> dict[str, Any]:
    """Values of the columns' own types that tokens stand for."""
    row = random_tokens(codec, seed)
    return codec.decode_row(row.tolist(), uniform_numbers(seed, codec), codec.schema.names)


@st.composite
def cells(draw: st.DrawFn, codec: Codec, odd: bool = True) -> dict[str, tuple[Any, str]]:
    """A row's cells in any order: learnt, or any that a message can hold."""
    learnt = learnt_cells(codec, draw(st.integers(0, 2**32)))
    names = draw(st.lists(st.sampled_from(codec.schema.names), unique=True))
    if draw(st.booleans()):
        names.sort(key=codec.schema.names.index)
    out = {}
    for name in names:
        own = FIELDS[codec.kinds[name]]
        value = draw(ODD) if odd and draw(st.integers(0, 3)) == 0 else learnt[name]
        out[name] = value, draw(st.sampled_from(["", own, "strings"]))
    return out


def rows_of(found: Mapping[str, tuple[Any, str]]) -> pb.Rows:
    rows = pb.Rows(count=1)
    for name, (value, field) in found.items():
        add_cell(rows, name, value, field)
    return rows


def outcome(codec: Codec, columns: Any, strict: bool) -> Any:
    """What is made of a row, as values that can be compared."""
    try:
        found = codec.encode_partial(columns, 1, strict)
    except ValueNotAllowed as exc:
        return type(exc), str(exc)
    outside = found.outside
    told = None if outside is None else (outside.first, outside.totals, outside.notices)
    return found.tokens.tolist(), found.observed.tolist(), told


@pytest.mark.parametrize("name", CODECS)
class TestAgreement:
    @settings(max_examples=200, deadline=None)
    @given(data=st.data())
    def test_rows_are_encoded_alike(self, name: str, data: st.DataObject) -> None:
        codec = CODECS[name]()
        found = data.draw(cells(codec))
        strict = data.draw(st.booleans())
        row = wire_row(rows_of(found))
        expected = outcome(codec, {name: [value] for name, (value, _) in found.items()}, strict)
        assert outcome(codec, row, strict) == expected
        alone = compiled(codec).encode(row)
        if alone is not None:
            assert len(expected) == 3
            assert alone[1].tolist() == expected[1]
            assert expected[2] is None

    @settings(max_examples=200, deadline=None)
    @given(data=st.data())
    def test_drawn_rows_are_written_as_they_are_decoded(
        self, name: str, data: st.DataObject
    ) -> None:
        codec = CODECS[name]()
        found = data.draw(cells(codec))
        names = data.draw(st.lists(st.sampled_from(codec.schema.names), unique=True))
        seed = data.draw(st.integers(0, 2**32))
        tokens, inside = random_tokens(codec, seed), uniform_numbers(seed, codec)
        written = codec.write_row(tokens, inside, names, wire_row(rows_of(found)))
        if written is None:
            return
        given = {name: [value] for name, (value, _) in found.items() if value is not ABSENT}
        drawn = codec.decode_row(
            tokens.tolist(), inside, [n for n in names if n not in given], given
        )
        expected = pb.Rows(count=1)
        for each in names:
            value = given[each][0] if each in given else drawn[each]
            add_cell(expected, each, value, FIELDS[codec.kinds[each]])
        assert pb.Rows.FromString(written).SerializeToString(
            deterministic=True
        ) == expected.SerializeToString(deterministic=True)


class TestWhatItKnows:
    """Or else all of the above could be said of code that knows nothing."""

    @pytest.mark.parametrize("name", CODECS)
    @pytest.mark.parametrize("seed", range(40))
    def test_learnt_values_are_encoded(self, name: str, seed: int) -> None:
        codec = CODECS[name]()
        given = {each: (value, "") for each, value in learnt_cells(codec, seed).items()}
        marked = outcome(codec, {each: [value] for each, (value, _) in given.items()}, False)
        if marked[2] is None:  # Numbers that follow from others may be beyond their bounds.
            assert compiled(codec).encode(wire_row(rows_of(given))) is not None

    @pytest.mark.parametrize("seed", range(40))
    def test_drawn_values_are_written(self, seed: int) -> None:
        codec = wide()
        tokens = random_tokens(codec, seed)
        # Which of the rare categories it is, is drawn.
        names = [name for name in codec.schema.names if name not in ("shop", "city")]
        row = wire_row(pb.Rows(count=1))
        assert codec.write_row(tokens, uniform_numbers(seed, codec), names, row) is not None

    def test_nothing_given(self) -> None:
        found = compiled(wide()).encode(wire_row(pb.Rows(count=1)))
        assert found is not None
        tokens, known, _ = found
        assert not known.any()
        tokens[:] = known[:] = 1  # nobody else's, and writable

    def test_absent_is_not_known_and_null_is(self) -> None:
        rows = rows_of({"channel": (None, ""), "score": (ABSENT, "doubles")})
        found = compiled(wide()).encode(wire_row(rows))
        assert found is not None
        observed = found[1][0, wide().layout.first_slot].tolist()
        assert dict(zip(wide().schema.names, observed, strict=True)) == {
            name: name == "channel" for name in wide().schema.names
        }

    @pytest.mark.parametrize("name", ["nobody", "chann", "channel2", "Channel", ""])
    def test_no_such_column(self, name: str) -> None:
        row = wire_row(rows_of({name: ("web", "")}))
        assert compiled(wide()).encode(row) is None
        with pytest.raises(UnknownColumn):
            wide().encode_partial(row, 1)
        with pytest.raises(UnknownColumn):
            wide().write_row(random_tokens(wide(), 0), uniform_numbers(0, wide()), [name], row)

    def test_a_column_that_comes_twice_is_not_its_own(self) -> None:
        rows = rows_of({"channel": ("web", "")})
        rows.columns.append(rows.columns[0])
        assert compiled(wide()).encode(wire_row(rows)) is None

    def test_tokens_that_are_none(self) -> None:
        codec, row = wide(), wire_row(pb.Rows(count=1))
        inside = uniform_numbers(0, codec)
        for slot, size in enumerate(codec.layout.sizes):
            for token in (-(2**31), -1, size, 2**31 - 1):
                tokens = np.zeros(len(codec.layout.sizes), np.int32)
                tokens[slot] = token
                column = codec.layout.column[slot]
                names = [codec.schema.names[column]]
                written = codec.write_row(tokens, inside, names, row)
                if slot == codec.layout.first_slot[column]:
                    assert written is None
        tokens = np.zeros(len(codec.layout.sizes), np.int32)
        amount = codec.layout.first_slot[codec.schema.names.index("amount")]
        tokens[amount] = 5
        for fine in (-1, 16, 2**31 - 1):
            tokens[amount + 1] = fine
            assert codec.write_row(tokens, inside, ["amount"], row) is None

    def test_a_row_of_other_tokens(self) -> None:
        row, inside = wire_row(pb.Rows(count=1)), uniform_numbers(0, wide())
        for size in (0, len(wide().layout.sizes) - 1, len(wide().layout.sizes) + 1):
            with pytest.raises(ValueError, match="tokens"):
                wide().write_row(np.zeros(size, np.int32), inside, [], row)

    def test_too_few_places(self) -> None:
        tokens = np.zeros(len(wide().layout.sizes), np.int32)
        row = wire_row(pb.Rows(count=1))
        assert wide().write_row(tokens, lambda _: np.empty((0, 1)), ["amount"], row) is None

    @pytest.mark.parametrize("number", [-0.1, 1.0, math.nan, math.inf])
    def test_a_place_that_is_not_inside_of_a_bin(self, number: float) -> None:
        codec, row = wide(), wire_row(pb.Rows(count=1))
        tokens = np.zeros(len(codec.layout.sizes), np.int32)
        tokens[codec.layout.first_slot[codec.schema.names.index("amount")]] = 5
        assert codec.write_row(tokens, lambda _: np.array([[number]]), ["amount"], row) is None


def message(found: Mapping[str, tuple[Any, str]]) -> pb.SynthesizeRequest:
    return pb.SynthesizeRequest(table="wide", rows=rows_of(found))


FULL = pb.SynthesizeRequest(
    table="täble",
    version=-7,
    rows=rows_of({"channel": ("телефон", ""), "items": (-3, ""), "score": (0.5, "")}),
    draws=4_000_000_000,
    columns=["amount", "телефон", ""],
    seed=2**64 - 1,
    fidelity=pb.FIDELITY_FAST,
    log_likelihood=True,
    timeout_microseconds=2**63,
    explain=True,
    strict=True,
    first_row=2**33,
    offline=True,
)


def scanned(content: bytes) -> pb.SynthesizeRequest | None:
    """What was found of a message, as the message that says the same."""
    found = scan_request(content)
    if found is None:
        return None
    columns = content[found.columns : found.columns + found.columns_bytes]
    out = pb.SynthesizeRequest.FromString(columns)
    out.table = content[found.table : found.table + found.table_bytes].decode()
    out.rows.ParseFromString(content[found.rows : found.rows + found.rows_bytes])
    out.version, out.fidelity = found.version, found.fidelity
    if found.has_draws:
        out.draws = found.draws
    if found.has_seed:
        out.seed = found.seed
    out.log_likelihood, out.explain = bool(found.log_likelihood), bool(found.explain)
    out.strict, out.offline = bool(found.strict), bool(found.offline)
    out.timeout_microseconds, out.first_row = found.timeout, found.first_row
    return out


class TestScanning:
    @pytest.mark.parametrize("codec", CODECS)
    @settings(max_examples=200, deadline=None)
    @given(data=st.data())
    def test_it_finds_what_protobuf_finds(self, codec: str, data: st.DataObject) -> None:
        asked = message(data.draw(cells(CODECS[codec]())))
        found = scanned(asked.SerializeToString())
        if found is not None:
            assert found == asked or any(math.isnan(v) for v in numbers_of(asked))
        if all(column.WhichOneof("values") or column.states for column in asked.rows.columns):
            assert found is not None

    def test_all_fields(self) -> None:
        assert scanned(FULL.SerializeToString()) == FULL

    @pytest.mark.parametrize("count", [0, 2])
    def test_other_than_one_row(self, count: int) -> None:
        assert (
            scan_request(pb.SynthesizeRequest(rows=pb.Rows(count=count)).SerializeToString())
            is None
        )

    @settings(max_examples=3000, deadline=None)
    @given(data=st.data())
    def test_garbage(self, data: st.DataObject) -> None:
        """Whatever it takes, protobuf takes too, and reads the same in it."""
        content = bytearray(FULL.SerializeToString())
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(content)))
            some = data.draw(st.binary(max_size=3))
            content[at : at + data.draw(st.integers(0, 4))] = some
        if data.draw(st.booleans()):
            del content[data.draw(st.integers(0, len(content))) :]
        self.check(bytes(content))

    @settings(max_examples=1000, deadline=None)
    @given(content=st.binary(max_size=40))
    def test_nothing_but_garbage(self, content: bytes) -> None:
        self.check(content)

    def test_every_beginning_and_every_bit(self) -> None:
        content = FULL.SerializeToString()
        for size in range(len(content)):
            self.check(content[:size])
        for at in range(8 * len(content)):
            flipped = bytearray(content)
            flipped[at // 8] ^= 1 << at % 8
            self.check(bytes(flipped))

    @settings(max_examples=1000, deadline=None)
    @given(text=st.binary(max_size=6))
    def test_text(self, text: bytes) -> None:
        content = b"\x0a" + bytes([len(text)]) + text + b"\x1a\x02\x08\x01"
        try:
            text.decode()
        except UnicodeDecodeError:
            assert scan_request(content) is None
        else:
            assert scan_request(content) is not None

    def check(self, content: bytes) -> None:
        found = scanned(content)
        if found is not None:
            expected = pb.SynthesizeRequest.FromString(content)
            assert found == expected or any(math.isnan(v) for v in numbers_of(expected))
        codec = compiled(wide())
        row = WireRow(content, 0, len(content), dict)
        for size in (len(content), len(content) + 1, -1, 2**62, -(2**62)):
            for begin in (0, 1, -1, len(content), 2**62):
                bad = WireRow(content, begin, size, dict)
                if begin != 0 or size != len(content):
                    is_inside = begin >= 0 and size >= 0 and begin + size <= len(content)
                    assert is_inside or codec.encode(bad) is None
        try:
            rows = pb.Rows.FromString(content)
        except DecodeError:
            assert codec.encode(row) is None
        else:
            encoded = codec.encode(row)
            assert encoded is None or rows.count == 1
        tokens = np.zeros(len(wide().layout.sizes), np.int32)
        codec.write(tokens, uniform_numbers(0, wide()), wide().schema.names, row)


def numbers_of(asked: pb.SynthesizeRequest) -> list[float]:
    return [value for column in asked.rows.columns for value in column.doubles.values]
