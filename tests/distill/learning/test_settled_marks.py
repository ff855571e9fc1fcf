"""What puts right how often relations hold is found once for a training, and kept with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cascade_distill.learning import settled_marks
from cascade_distill.learning.rows import prepare
from cascade_distill.learning.student import distill_student
from cascade_distill.learning.teacher import fit_teacher
from cascade_distill.learning.teacher_rows import draw_teacher_rows
from cascade_distill.models.student import StudentConfig
from cascade_distill.models.teacher import TeacherConfig
from cascade_distill.recipes import StudentRecipe, TeacherRecipe
from cascade_distill.runs.run import Run
from cascade_distill.training.schedule import TrainConfig

from tests import ledgers

TRAIN = TrainConfig(steps=6, batch_rows=64, warmup_steps=2, bfloat16=False)
TEACHER = TeacherRecipe(TeacherConfig(width=16, hidden=16, blocks=1, fine_width=8), TRAIN)
STUDENT = StudentRecipe(StudentConfig(width=16, head_width=16), TRAIN, rows=400)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Of a table with NULLs, dates and categories beside its relations; few rows are drawn."""
    monkeypatch.setattr(settled_marks, "ROWS", 256)
    run = Run(tmp_path)
    prepare(run, ledgers.schema(), ledgers.claims(600, seed=8), "claims")
    return run


def digests(run: Run) -> list[str]:
    files = ("teacher.onnx", "teacher.safetensors", "student.onnx")
    return [run.digest(file) for file in files if run.path(file).exists()]


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("it has been found")


def learn(run: Run) -> None:
    fit_teacher(run, TEACHER)
    draw_teacher_rows(run, STUDENT.rows, 0, 1)
    distill_student(run, STUDENT)


def test_a_run_that_is_called_again_is_what_it_was_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(run)
    before = digests(run)
    assert len(before) == 3
    for name in ("settle_marks", "seconds_a_row"):
        monkeypatch.setattr(settled_marks, name, never)
    monkeypatch.setattr("cascade_distill.learning.teacher.calibrate_marks", never)
    learn(run)
    assert digests(run) == before


def test_another_training_is_settled_anew(run: Run) -> None:
    fit_teacher(run, TEACHER)
    first = run.read_json("run.json")["marks"]
    run.path("teacher.checkpoint.safetensors").unlink()
    fit_teacher(run, replace(TEACHER, train=replace(TRAIN, steps=7)))
    second = run.read_json("run.json")["marks"]
    assert first.keys() == second.keys()
    assert first != second


def test_one_that_was_stopped_while_it_was_settled_is_the_same(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many rows there is time for is measured once, however fast the machine is by then."""
    bounded = replace(TEACHER, train=replace(TRAIN, most_seconds=3600.0))
    paces = iter([3600 * 0.05 / 8 / 300])

    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(settled_marks, "ROWS", 4_096)
        patched.setattr(settled_marks, "seconds_a_row", lambda *_: next(paces))
        patched.setattr(settled_marks, "settle_marks", stopped)
        with pytest.raises(KeyboardInterrupt):
            fit_teacher(run, bounded)
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(settled_marks, "seconds_a_row", never)
    fit_teacher(run, bounded, settling=lambda done, total: told.append((done, total)))
    assert told[-1][1] in (8 * 299, 8 * 300)
    before = digests(run)
    fit_teacher(run, bounded)
    assert digests(run) == before
