"""What a training run shows where there is no terminal."""

from __future__ import annotations

import io

from cascade_distill.training.early_stopping import HeldOutLosses
from cascade_distill.training.progress import bar
from rich.console import Console


def test_what_follows_training_is_shown_too() -> None:
    out = io.StringIO()
    with bar("teacher", "steps", Console(file=out)) as shown:
        shown.update(200, 200, 39.0)
        for done in (1024, 2048):
            shown.settling(done, 2048)
    trained, begun, ended = out.getvalue().splitlines()
    assert trained.startswith("teacher: 200 of 200")
    assert begun.startswith("teacher: how often relations hold: 1,024 of 2,048")
    assert ended.startswith("teacher: how often relations hold: 2,048 of 2,048")


def test_held_out_rows_are_shown_with_their_best() -> None:
    out = io.StringIO()
    losses = HeldOutLosses().with_one_more(100, 41.5).with_one_more(200, 42.25)
    with bar("teacher", "steps", Console(file=out)) as shown:
        shown.update(100, 200, 40.0)
        shown.held_out(losses)
        shown.update(200, 200, 39.0)
    first, last = out.getvalue().splitlines()
    assert "held out" not in first
    assert "loss 39.000, held out 42.250 (best 41.500, step 100)" in last
