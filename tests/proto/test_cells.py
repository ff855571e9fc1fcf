"""The words of a cell agree with the messages and with the kinds that tables have."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cascade_proto import cells
from cascade_proto import synthesis_pb2 as pb
from cascade_tables import Kind


class TestFields:
    """Every kind of column has a field, and every field a placeholder of its type."""

    def test_every_kind_has_one(self) -> None:
        assert set(Kind) == set(cells.FIELDS)

    def test_they_are_the_message_s(self) -> None:
        (values,) = [each for each in pb.Column.DESCRIPTOR.oneofs if each.name == "values"]
        assert {field.name for field in values.fields} == set(cells.FIELDS.values())
        assert set(cells.FIELDS.values()) == set(cells.PLACEHOLDERS)

    @pytest.mark.parametrize("field", cells.PLACEHOLDERS)
    def test_a_placeholder_is_what_its_field_takes(self, field: str) -> None:
        column = pb.Column()
        getattr(column, field).values.append(cells.PLACEHOLDERS[field])
        (value,) = getattr(column, field).values
        assert (type(value), bool(value)) == (type(cells.PLACEHOLDERS[field]), False)


class TestStates:
    """A state and the `states` of a single row say the same."""

    def test_cells_are_states_of_one_row(self) -> None:
        states = (cells.OBSERVED_STATE, cells.NULL_STATE, cells.ABSENT_STATE)
        assert tuple(bytes([state]) for state in states) == (
            cells.OBSERVED_CELL,
            cells.NULL_CELL,
            cells.ABSENT_CELL,
        )


def test_the_words_need_no_protobuf() -> None:
    """They may be asked for where protobuf is not to be loaded."""
    program = "import sys, cascade_proto.cells; print('google.protobuf' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert out.stdout.split() == ["False"]
