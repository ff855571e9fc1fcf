"""What a training run shows where there is no terminal."""

from __future__ import annotations

import io

from cascade_distill.training.early_stopping import HeldOutLosses
from cascade_distill.training.progress import bar
from rich.console import Console


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
