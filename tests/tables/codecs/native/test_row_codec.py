"""The compiled way of one row does what the codec's own does, or says that it is not for it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.cells import FIELDS
from cascade_tables import ABSENT, Codec, UnknownColumn, ValueNotAllowed
from cascade_tables.codecs.native.library import load_library
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tables.codecs.native.wire_rows import (
    CODECS,
    add_cell,
    cells,
    compiled,
    learnt_cells,
    random_tokens,
    rows_of,
    uniform_numbers,
    wide,
    wire_row,
)

pytestmark = pytest.mark.skipif(
    isinstance(load_library(), str), reason="the compiled codec was not built"
)


def outcome(codec: Codec, columns: Any, strict: bool) -> Any:
    """What is made of a row, as values that can be compared."""
    try:
        found = codec.encode_partial(columns, 1, strict)
    except ValueNotAllowed as exc:
        return type(exc), str(exc)
    outside = found.outside
    told = None if outside is None else (outside.first, outside.totals, outside.notices)
    return found.tokens.tolist(), found.observed.tolist(), told


class TestMarks:
    """Which relations of whole numbers hold of what is given is found out in compiled code."""

    @pytest.mark.parametrize("name", ["counts", "twins"])
    def test_they_are_those_of_the_codec(self, name: str) -> None:
        codec, marked = CODECS[name](), set[tuple[int, int]]()
        stands = {(mark.slot, mark.token) for mark in codec.layout.marks}
        for seed in range(300):
            learnt = learnt_cells(codec, seed)
            row = rows_of({column: (value, "") for column, value in learnt.items()})
            found = compiled(codec).encode(wire_row(row))
            assert found is not None
            tokens, _, to_compare = found
            assert not to_compare
            expected = codec.encode_partial({key: [value] for key, value in learnt.items()}, 1)
            assert tokens.tolist() == expected.tokens.tolist()
            marked |= stands & set(enumerate(tokens[0].tolist()))
        assert marked

    def test_amounts_with_cents_are_left_to_the_codec(self) -> None:
        codec = CODECS["settlements"]()
        row = rows_of({column: (value, "") for column, value in learnt_cells(codec, 0).items()})
        found = compiled(codec).encode(wire_row(row))
        assert found is not None
        assert {"total", "paid", "deductible"} == {codec.schema.names[at] for at in found[2]}


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
