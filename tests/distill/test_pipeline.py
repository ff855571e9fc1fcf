"""Learning step by step in a run folder."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cascade_distill import pipeline
from cascade_distill.errors import TrainingStopped
from cascade_distill.models.student import Student, StudentConfig, random_suffix
from cascade_distill.models.teacher import Denoiser, TeacherConfig
from cascade_distill.run import Run
from cascade_tables import Codec, infer_schema

from tests.releases import payments

SMALL = TeacherConfig(width=32, hidden=32, blocks=1, fine_width=8)


class StopOnce:
    """Ctrl-C at the first report of progress."""

    def __init__(self) -> None:
        self.stopped_at = 0

    def update(self, step: int, steps: int, loss: float) -> None:
        if not self.stopped_at and step < steps:
            self.stopped_at = step
            os.kill(os.getpid(), signal.SIGINT)


def run_in(folder: Path) -> Run:
    run = Run(folder)
    frame = payments(300)
    pipeline.prepare(run, infer_schema(frame), frame, source="payments")
    return run


def test_a_teacher_that_was_stopped_resumes_to_the_unbroken_one(tmp_path: Path) -> None:
    """Rows, masks and dropout are drawn anew from the step's number, whatever went before."""
    recipe = pipeline.TeacherRecipe(model=SMALL)
    recipe = replace(recipe, train=replace(recipe.train, steps=60, batch_rows=64))
    unbroken = pipeline.fit_teacher(run_in(tmp_path / "unbroken"), recipe).read_bytes()

    broken, stop = run_in(tmp_path / "broken"), StopOnce()
    with pytest.raises(TrainingStopped):
        pipeline.fit_teacher(broken, recipe, stop)
    assert 0 < stop.stopped_at < 60
    assert not broken.path("teacher.onnx").exists()
    assert pipeline.fit_teacher(broken, recipe).read_bytes() == unbroken


def test_dropout_is_part_of_training(tmp_path: Path) -> None:
    graphs = []
    for share in (0.0, 0.5):
        recipe = pipeline.TeacherRecipe(model=replace(SMALL, dropout=share))
        recipe = replace(recipe, train=replace(recipe.train, steps=5, batch_rows=64))
        graphs.append(pipeline.fit_teacher(run_in(tmp_path / str(share)), recipe).read_bytes())
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
            found = pipeline.conditionals(teacher, tokens, suffix, [at])
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
