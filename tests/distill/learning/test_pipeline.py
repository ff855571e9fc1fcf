"""Learning step by step in a run folder."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cascade_distill.errors import CheckpointMismatch, TrainingStopped
from cascade_distill.learning import rows, student, teacher
from cascade_distill.learning.rows import has_bfloat16, prepare
from cascade_distill.learning.student import (
    bounded_distilling,
    conditionals,
    distill_student,
    distilling_pace,
)
from cascade_distill.learning.teacher import bounded, fit_teacher, pace, untaught_teacher
from cascade_distill.learning.teacher_rows import draw_teacher_rows
from cascade_distill.models.student import Student, StudentConfig, random_suffix
from cascade_distill.models.teacher import Denoiser, TeacherConfig
from cascade_distill.recipes import DistillingPace, StudentRecipe, TeacherRecipe
from cascade_distill.runs.run import Run
from cascade_distill.training.early_stopping import Ending, HeldOutLosses
from cascade_distill.training.loop import Outcome
from cascade_tables import Codec, infer_schema

from tests.releases import payments

SMALL = TeacherConfig(width=32, hidden=32, blocks=1, fine_width=8)


class StopOnce:
    """Ctrl-C at the first report of progress from a step on."""

    def __init__(self, step: int = 0) -> None:
        self.stopped_at, self.after = 0, step

    def update(self, step: int, steps: int, loss: float) -> None:
        if not self.stopped_at and self.after <= step < steps:
            self.stopped_at = step
            os.kill(os.getpid(), signal.SIGINT)

    def held_out(self, losses: HeldOutLosses) -> None:
        """It stops by the steps alone."""


def run_in(folder: Path) -> Run:
    run = Run(folder)
    frame = payments(300)
    prepare(run, infer_schema(frame), frame, source="payments")
    return run


def small(**train: Any) -> TeacherRecipe:
    recipe = TeacherRecipe(model=SMALL)
    return replace(recipe, train=replace(recipe.train, **{"batch_rows": 64, **train}))


def small_student(rows: int = 400, **train: Any) -> StudentRecipe:
    recipe = StudentRecipe(model=StudentConfig(width=16, head_width=16), rows=rows)
    return replace(recipe, train=replace(recipe.train, **{"batch_rows": 64, **train}))


def learn(run: Run, recipe: TeacherRecipe) -> bytes:
    """The graph of a finished teacher."""
    fit_teacher(run, recipe)
    return run.path("teacher.onnx").read_bytes()


def test_a_teacher_that_was_stopped_resumes_to_the_unbroken_one(tmp_path: Path) -> None:
    """Rows, masks and dropout are drawn anew from the step's number, whatever went before."""
    recipe = small(steps=60)
    unbroken = learn(run_in(tmp_path / "unbroken"), recipe)

    broken, stop = run_in(tmp_path / "broken"), StopOnce()
    with pytest.raises(TrainingStopped):
        fit_teacher(broken, recipe, stop)
    assert 0 < stop.stopped_at < 60
    assert not broken.path("teacher.onnx").exists()
    assert learn(broken, recipe) == unbroken


@pytest.mark.parametrize("stop_at", [45, 75])
def test_what_was_held_out_ends_training_and_is_resumed(tmp_path: Path, stop_at: int) -> None:
    """Rates at which a table of 240 rows is learnt by heart: the best state comes early, and a
    better one where training goes on from it at a falling rate."""
    recipe = small(steps=300, learning_rate=0.03, weight_decay=0.0, evaluate_every=10, patience=4)
    run = run_in(tmp_path / "unbroken")
    outcome = fit_teacher(run, recipe)
    assert outcome.ending is Ending.NO_BETTER
    assert outcome.best is not None
    assert outcome.best.step <= outcome.steps < 300
    assert run.read_json("run.json")["teacher"]["outcome"]["best"]["step"] == outcome.best.step

    broken, stop = run_in(tmp_path / "broken"), StopOnce(stop_at)
    with pytest.raises(TrainingStopped):
        fit_teacher(broken, recipe, stop)
    assert stop_at <= stop.stopped_at < outcome.steps
    assert fit_teacher(broken, recipe) == outcome
    assert broken.path("teacher.onnx").read_bytes() == run.path("teacher.onnx").read_bytes()


def test_minutes_are_turned_into_steps_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is resumed on a machine that is slower by then goes on as it began."""
    run = run_in(tmp_path)
    paces = iter([0.5, 5.0])
    monkeypatch.setattr(teacher, "pace", lambda *_: next(paces))
    first = bounded(run, small(steps=1000), minutes=2)
    assert first.train.steps == 228
    assert bounded(run, small(steps=1000), minutes=2) == first
    other = bounded(run, small(steps=1000), minutes=4)
    assert other.train.steps == 45


def test_a_run_keeps_the_arithmetic_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a machine of another kind, where it is resumed."""
    for has in (True, False):
        monkeypatch.setattr(rows, "fast_bfloat16", lambda has=has: has)
        run = run_in(tmp_path / str(has))
        monkeypatch.setattr(rows, "fast_bfloat16", lambda has=has: not has)
        assert has_bfloat16(run) is has
        assert has_bfloat16(run_in(tmp_path / str(has))) is has


def test_the_pace_leaves_nothing_behind(tmp_path: Path) -> None:
    run = run_in(tmp_path / "timed")
    before = sorted(path.name for path in run.folder.iterdir())
    assert pace(run, small(steps=30)) > 0
    untaught = untaught_teacher(run, small(steps=30))
    found = distilling_pace(run, untaught, small_student(rows=100), threads=1)
    assert found.seconds_a_row > 0
    assert found.seconds_a_step > 0
    assert sorted(path.name for path in run.folder.iterdir()) == before
    assert learn(run, small(steps=30)) == learn(run_in(tmp_path / "plain"), small(steps=30))


class TestDistilling:
    """From a finished teacher to a student."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Run:
        run = run_in(tmp_path / "run")
        learn(run, small(steps=20))
        return run

    def distil(self, run: Run, recipe: StudentRecipe) -> tuple[Outcome, bytes]:
        """How it ended, and the graph."""
        draw_teacher_rows(run, recipe.rows, recipe.train.seed, threads=1)
        outcome = distill_student(run, recipe)
        return outcome, run.path("student.onnx").read_bytes()

    def test_a_student_that_was_stopped_resumes_to_the_unbroken_one(
        self, run: Run, tmp_path: Path
    ) -> None:
        """What the teacher says is kept, and batches are drawn anew from the step's number."""
        recipe = small_student(steps=60, evaluate_every=10)
        broken = Run(shutil.copytree(run.folder, tmp_path / "broken"))
        expected = self.distil(run, recipe)
        stop = StopOnce()
        draw_teacher_rows(broken, recipe.rows, recipe.train.seed, threads=1)
        with pytest.raises(TrainingStopped):
            distill_student(broken, recipe, stop)
        assert 0 < stop.stopped_at < 60
        assert not broken.path("student.onnx").exists()
        assert self.distil(broken, recipe) == expected

    def test_it_makes_rows_likelier_and_ends_when_it_no_longer_does(self, run: Run) -> None:
        """Rates at which some hundred lessons are learnt by heart: the best state comes early."""
        recipe = small_student(steps=2000, learning_rate=0.02, evaluate_every=10, patience=5)
        outcome, _ = self.distil(run, recipe)
        assert outcome.ending is Ending.NO_BETTER
        assert outcome.best is not None
        run.path("student.checkpoint.safetensors").unlink()
        first, _ = self.distil(run, small_student(steps=1, evaluate_every=1))
        assert first.best is not None
        assert outcome.best.step <= outcome.steps < 2000
        assert outcome.best.loss < first.best.loss

    def test_rows_of_the_table_are_learnt_where_others_are_held_out(
        self, run: Run, tmp_path: Path
    ) -> None:
        """Losses differ with the table's rows, or only with what is held out, or with neither."""
        table, teacher_alone = small_student(steps=20, evaluate_every=10), Run(tmp_path / "alone")
        shutil.copytree(run.folder, teacher_alone.folder)
        without = Run(shutil.copytree(run.folder, tmp_path / "none_held_out"))
        without.path("held_out.safetensors").unlink()
        _, learnt = self.distil(run, table)
        _, not_learnt = self.distil(teacher_alone, replace(table, table_share=0.0))
        _, none_held_out = self.distil(without, table)
        assert len({learnt, not_learnt, none_held_out}) == 2
        assert not_learnt == none_held_out

    def test_other_rows_of_the_table_are_another_lesson(self, run: Run) -> None:
        self.distil(run, small_student(steps=2))
        tokens = run.tokens("tokens.safetensors", "")
        run.save_tokens("tokens.safetensors", tokens.flip(0), "another table")
        with pytest.raises(CheckpointMismatch):
            distill_student(run, small_student(steps=2))

    def test_the_teacher_is_asked_once(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        self.distil(run, small_student(steps=2))
        run.path("student.checkpoint.safetensors").unlink()

        def never(*_: object) -> None:
            raise AssertionError("it has said this already")

        monkeypatch.setattr(student, "conditionals", never)
        self.distil(run, small_student(steps=3))

    def test_another_teachers_words_do_not_count(self, run: Run) -> None:
        self.distil(run, small_student(steps=2))
        before = run.digest("lessons.safetensors")
        run.path("teacher.checkpoint.safetensors").unlink()
        learn(run, small(steps=21))
        run.path("student.checkpoint.safetensors").unlink()
        self.distil(run, small_student(steps=2))
        assert run.digest("lessons.safetensors") != before

    def test_minutes_are_turned_into_rows_and_steps_once(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paces = iter([DistillingPace(0.01, 0.1), DistillingPace(0.1, 1.0)])
        monkeypatch.setattr(student, "distilling_pace", lambda *_: next(paces))
        recipe = small_student(rows=10_000, steps=5000)
        first = bounded_distilling(run, recipe, 2, threads=1)
        assert (first.rows, first.train.steps) == (3800, 760)
        assert bounded_distilling(run, recipe, 2, threads=1) == first
        assert bounded_distilling(run, recipe, 4, threads=1).rows < first.rows


def test_dropout_is_part_of_training(tmp_path: Path) -> None:
    graphs = []
    for share in (0.0, 0.5):
        recipe = replace(small(steps=5), model=replace(SMALL, dropout=share))
        graphs.append(learn(run_in(tmp_path / str(share)), recipe))
    assert graphs[0] != graphs[1]


class TestConditionals:
    """What the teacher tells the student beside its rows."""

    @pytest.fixture
    def teacher(self) -> Denoiser:
        torch.manual_seed(0)
        frame = payments(300)
        codec = Codec.fit(infer_schema(frame), frame)
        teacher = Denoiser(codec.layout, SMALL)
        with torch.no_grad():
            for parameter in teacher.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return teacher

    def test_they_are_the_teachers_own(self, teacher: Denoiser) -> None:
        """Of any row's token, the same ln p as the teacher's score of it."""
        frame = payments(64, seed=1)
        codec = Codec.fit(infer_schema(payments(300)), payments(300))
        tokens = torch.from_numpy(codec.encode(frame)).long()
        column = torch.tensor(codec.layout.column)
        suffix = random_suffix(64, codec.layout, StudentConfig(), torch.Generator().manual_seed(2))
        for at in range(int(column.max()) + 1):
            known = (suffix & (column > at)) | (column < at)
            expected = teacher.log_prob(tokens, known)
            found = conditionals(teacher, tokens, suffix, [at])
            assert list(found) == [s for s, c in enumerate(codec.layout.column) if c == at]
            for slot, p in found.items():
                of_token = p.gather(1, tokens[:, [slot]])[:, 0].log()
                # float32 logits through two softmaxes.
                torch.testing.assert_close(of_token, expected[:, slot], rtol=1e-4, atol=1e-5)

    def test_certain_ones_are_as_good_as_tokens(self) -> None:
        torch.manual_seed(0)
        frame = payments(300)
        codec = Codec.fit(infer_schema(frame), frame)
        tokens = torch.from_numpy(codec.encode(frame)).long()
        student = Student(codec.layout, StudentConfig(width=16, head_width=16))
        nothing = torch.zeros_like(tokens, dtype=torch.bool)
        certain = {
            slot: torch.nn.functional.one_hot(tokens[:, slot], size).float()
            for slot, size in enumerate(codec.layout.sizes)
        }
        torch.testing.assert_close(
            student.loss(tokens, nothing, certain), student.loss(tokens, nothing)
        )
