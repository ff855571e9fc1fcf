"""Rows that a teacher makes for its student: drawn a batch at a time, and never twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from cascade_distill.errors import DrawingStopped
from cascade_distill.learning.rows import prepare
from cascade_distill.learning.teacher import fit_teacher
from cascade_distill.learning.teacher_rows import BATCHES, TEACHER_ROWS, draw_teacher_rows
from cascade_distill.models.teacher import TeacherConfig
from cascade_distill.recipes import TeacherRecipe
from cascade_distill.runs.run import Run
from cascade_distill.runtime import BATCH
from cascade_distill.training.loop import TrainConfig
from cascade_tables import infer_schema

from tests.releases import payments

# Two whole batches and some rows.
ROWS = 2 * BATCH + 52


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """With a teacher that has hardly learnt."""
    run = Run(tmp_path / "run")
    frame = payments(300)
    prepare(run, infer_schema(frame), frame, source="payments")
    small = TeacherConfig(width=32, hidden=32, blocks=1, fine_width=8)
    fit_teacher(run, TeacherRecipe(small, TrainConfig(steps=3, batch_rows=32)))
    return run


class Watched:
    """What progress was told; Ctrl-C once so many rows are done."""

    def __init__(self, until: int = ROWS + 1) -> None:
        self.until, self.told = until, list[tuple[int, int]]()

    def __call__(self, done: int, rows: int) -> None:
        self.told.append((done, rows))
        if done >= self.until:
            raise KeyboardInterrupt


def drawn(run: Run, watched: Watched, seed: int = 7) -> bytes:
    draw_teacher_rows(run, ROWS, seed, 1, watched)
    assert not run.path(BATCHES).exists()
    assert len(run.tokens(TEACHER_ROWS, "")) == ROWS
    return run.path(TEACHER_ROWS).read_bytes()


def test_progress_goes_from_none_to_all_of_them(run: Run) -> None:
    watched = Watched()
    drawn(run, watched)
    done = [done for done, _ in watched.told]
    assert done == sorted(done)
    assert watched.told[-1] == (ROWS, ROWS)


def test_rows_that_are_there_are_not_drawn_again(run: Run) -> None:
    first = drawn(run, Watched())
    # As a command leaves them that was killed when it had written all rows.
    run.path(BATCHES).mkdir()
    watched = Watched()
    assert drawn(run, watched) == first
    assert watched.told == []


def test_who_was_stopped_goes_on_with_the_batch_that_is_missing(run: Run) -> None:
    unbroken = drawn(run, Watched())
    run.path(TEACHER_ROWS).unlink()
    with pytest.raises(DrawingStopped, match=r"stopped at 1,024 of 2,100 teacher rows; kept in"):
        drawn(run, Watched(until=BATCH + 1))
    again = Watched()
    assert drawn(run, again) == unbroken
    assert again.told[0] == (BATCH, ROWS)


@pytest.mark.parametrize("of_others", [b"", b"no tensors", None])
def test_a_batch_that_is_no_use_is_drawn_anew(run: Run, of_others: bytes | None) -> None:
    """It was cut off, or is of other rows: None stands for those of another seed."""
    unbroken = drawn(run, Watched())
    run.path(TEACHER_ROWS).unlink()
    with pytest.raises(DrawingStopped):
        drawn(run, Watched(until=2 * BATCH + 1), seed=8 if of_others is None else 7)
    if of_others is not None:
        next(iter(run.path(BATCHES).iterdir())).write_bytes(of_others)
    assert drawn(run, Watched()) == unbroken


def test_batches_differ(run: Run) -> None:
    drawn(run, Watched())
    rows = run.tokens(TEACHER_ROWS, "")
    assert not rows[:BATCH].equal(rows[BATCH : 2 * BATCH])
