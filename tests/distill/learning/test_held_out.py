"""Rows that are not learnt from: which they are, and what a network says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cascade_distill.errors import CheckpointMismatch, HeldOutRefused, OtherTable
from cascade_distill.learning import held_out
from cascade_distill.learning.rows import TEACHER_CHECKPOINT, parts_of, prepare, taken_from
from cascade_distill.models.teacher import Denoiser, TeacherConfig
from cascade_distill.runs.run import Run
from cascade_tables import Codec, ColumnData, Frame, infer_schema
from cascade_tables.files.table import Stream, stream_of

from tests.releases import payments

SMALL = TeacherConfig(width=32, hidden=32, blocks=1, fine_width=8)


def run_in(folder: Path, frame: Frame, validation: Frame | None = None) -> Run:
    run = Run(folder)
    prepare(run, infer_schema(frame), frame, "payments", validation=validation)
    return run


def channel(frame: Frame, row: int, value: str) -> Frame:
    """The frame with another channel in a row."""
    old = frame["channel"]
    values, null = old.values.copy(), old.null.copy()
    values[row], null[row] = value, False
    return Frame({**frame.columns, "channel": ColumnData(values, null)})


class TestSplit:
    def test_every_row_is_on_one_side(self) -> None:
        learnt, others = held_out.split(100, 20, seed=3)
        assert len(others) == 20
        assert sorted([*learnt, *others]) == list(range(100))

    def test_it_follows_from_the_seed(self) -> None:
        first, again, other = (held_out.split(100, 20, seed)[1].tolist() for seed in (1, 1, 2))
        assert first == again
        assert first != other

    def test_both_sides_keep_the_tables_order(self) -> None:
        for side in held_out.split(100, 20, seed=3):
            assert side.tolist() == sorted(side)


class TestFileOfItsOwn:
    @pytest.fixture
    def codec(self) -> Codec:
        frame = payments(300)
        return Codec.fit(infer_schema(frame), frame)

    def test_rows_with_values_never_learnt_are_left_out_and_counted(self, codec: Codec) -> None:
        rows = channel(payments(300).take(np.arange(50)), 7, "carrier pigeon")
        tokens, left_out = held_out.encode_file(codec, rows, seed=0)
        assert left_out == 1
        kept = np.delete(np.arange(50), 7)
        assert np.array_equal(tokens, codec.encode(payments(300).take(kept)))

    def test_a_file_of_which_nothing_is_known_is_refused_by_its_first_value(
        self, codec: Codec
    ) -> None:
        rows = channel(payments(300).take(np.arange(1)), 0, "carrier pigeon")
        with pytest.raises(HeldOutRefused, match="carrier pigeon"):
            held_out.encode_file(codec, rows, seed=0)

    def test_a_file_that_lacks_a_column_is_refused(self, codec: Codec) -> None:
        with pytest.raises(HeldOutRefused, match="lack columns: items, at, member, fraud"):
            held_out.encode_file(codec, payments(20).select(["amount", "channel"]), seed=0)


class TestLoss:
    def test_it_is_the_same_at_every_call_and_leaves_the_random_state(self) -> None:
        frame = payments(60)
        codec = Codec.fit(infer_schema(frame), frame)
        torch.manual_seed(0)
        model = Denoiser(codec.layout, SMALL)
        loss = held_out.held_out_loss(model, torch.from_numpy(codec.encode(frame)).long(), seed=5)
        before = torch.get_rng_state()
        with torch.no_grad():
            assert float(loss()) == float(loss())
        assert torch.equal(torch.get_rng_state(), before)

    def test_it_is_the_mean_over_rows_of_a_table_longer_than_a_part(self) -> None:
        frame = payments(5000)
        codec = Codec.fit(infer_schema(frame), frame)
        torch.manual_seed(0)
        model = Denoiser(codec.layout, SMALL)
        tokens = torch.from_numpy(codec.encode(frame)).long()
        masks = torch.Generator().manual_seed(held_out.MASKS)
        observed = held_out.random_observed(5000, codec.layout, masks)
        with torch.no_grad():
            found = float(held_out.held_out_loss(model, tokens, seed=0)())
            expected = float(model.loss(tokens, observed))
        # A mean of part means in float32.
        assert found == pytest.approx(expected, rel=1e-5)


class TestParts:
    def test_who_has_the_table_finds_both_parts_again(self, tmp_path: Path) -> None:
        frame = payments(300)
        run = run_in(tmp_path, frame)
        learnt, others = parts_of(run, stream_of(frame))
        assert (len(learnt), len(others)) == (240, 60)
        codec = run.codec()
        for part, file in ((learnt, "tokens"), (others, "held_out")):
            tokens = run.tokens(f"{file}.safetensors", "")
            assert np.array_equal(codec.encode(frame.take(part)), tokens.numpy())

    def test_with_a_file_of_its_own_all_rows_are_learnt_from(self, tmp_path: Path) -> None:
        frame = payments(300)
        run = run_in(tmp_path, frame, validation=frame.take(np.arange(30)))
        learnt, others = parts_of(run, stream_of(frame))
        assert (len(learnt), len(others)) == (300, 0)
        assert len(run.tokens("held_out.safetensors", "")) == 30

    def test_what_was_learnt_is_not_overwritten_by_other_rows(self, tmp_path: Path) -> None:
        run = run_in(tmp_path, payments(300))
        run.path(TEACHER_CHECKPOINT).touch()
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        for frame, validation in ((payments(301), None), (payments(300), payments(300, seed=1))):
            with pytest.raises(CheckpointMismatch, match="belongs to another run"):
                run_in(tmp_path, frame, validation)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        run_in(tmp_path, payments(300))

    def test_a_small_table_holds_nothing_out_and_forgets_what_was_before(
        self, tmp_path: Path
    ) -> None:
        run_in(tmp_path, payments(300))
        run = run_in(tmp_path, payments(40))
        assert not run.path("held_out.safetensors").exists()
        assert [len(part) for part in parts_of(run, stream_of(payments(40)))] == [40, 0]

    @pytest.mark.parametrize(
        ("other", "says"),
        [
            (payments(299), "has 299 rows"),
            (payments(300, seed=1), "not"),
            (channel(payments(300), 4, "carrier pigeon"), "not"),
        ],
    )
    def test_another_table_is_told(self, tmp_path: Path, other: Frame, says: str) -> None:
        run = run_in(tmp_path, payments(300))
        with pytest.raises(OtherTable, match=says):
            taken_from(run, stream_of(other), ())

    def test_rows_are_taken_from_whatever_part_they_are_in(self, tmp_path: Path) -> None:
        frame = payments(300)
        run = run_in(tmp_path, frame)
        parts = [frame.take(np.arange(begin, begin + 60)) for begin in range(0, 300, 60)]
        wanted = np.array([0, 59, 60, 179]), np.array([299]), np.array([], np.int64)
        taken = taken_from(run, Stream(300, lambda: iter(parts)), wanted)
        for rows, found in zip(wanted, taken, strict=True):
            assert found.to_rows() == frame.take(rows).to_rows()


def test_rows_that_come_in_parts_are_encoded_as_those_that_are_there(tmp_path: Path) -> None:
    """Held-out ones are taken from whatever part they are in, and tokens are the same bytes."""
    frame = payments(300)
    schema = infer_schema(frame)
    parts = [frame.take(np.arange(begin, min(begin + 70, 300))) for begin in range(0, 300, 70)]
    runs = [Run(tmp_path / name) for name in ("whole", "parts")]
    for run, stream in zip(runs, (None, Stream(300, lambda: iter(parts))), strict=True):
        prepare(run, schema, frame, "payments", stream=stream)
    whole, in_parts = ({p.name: p.read_bytes() for p in run.folder.iterdir()} for run in runs)
    assert whole == in_parts
    assert {"tokens.safetensors", "held_out.safetensors", "codec.json"} <= whole.keys()
