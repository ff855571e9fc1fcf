"""Learning step by step in a run folder."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from cascade_distill import pipeline
from cascade_distill.errors import TrainingStopped
from cascade_distill.run import Run
from cascade_distill.teacher import TeacherConfig
from cascade_tables import infer_schema

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
