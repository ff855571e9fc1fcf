"""Correction of how often relations hold, done once per training and kept in its run.

The correction takes minutes, and the number of rows there is time for depends on the machine.
Calling a finished run again must give the same result at once. So `run.json` holds, under `marks`,
by checkpoint name: the training it belongs to (`trained`), the rows drawn per round (`rows`),
chosen once, and the shift of the log-odds of each mark (`shifts`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cascade_distill.learning.drawn_shares import (
    ROWS,
    Sampler,
    rows_within,
    seconds_a_row,
    settle_marks,
)
from cascade_distill.models.student import Student
from cascade_distill.models.teacher import Denoiser
from cascade_distill.runs.run import Run
from cascade_distill.runs.token_store import StoredTokens


def settle_once(
    run: Run,
    checkpoint: str,
    model: Student | Denoiser,
    rows: StoredTokens | Tensor,
    sampler: Callable[[], Sampler],
    seed: int,
    training_seconds: float | None = None,
    calibrate: Callable[[], Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Correct how often a network draws its marks, with the shifts kept for this training or with
    new ones.

    Args:
        run: keeps the result.
        checkpoint: the file of the finished training.
        model: as it was trained; changed in place. Unchanged if it has no marks.
        rows, sampler, seed, progress: as for `settle_marks`.
        training_seconds: time limit of the whole training, if there is one.
        calibrate: a correction to apply first, which returns its shifts; see `calibrate_marks`.
    """
    codec = run.codec()
    if not codec.layout.marks or not len(rows):
        return
    trained = run.digest(checkpoint)
    kept = _kept(run).get(checkpoint, {})
    if kept.get("trained") != trained:
        kept = {"trained": trained}
    if "shifts" not in kept:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        shifts = torch.zeros(len(codec.layout.marks))
        if calibrate is not None:
            shifts += calibrate()
        if "rows" not in kept:
            kept["rows"] = ROWS
            if training_seconds is not None:
                pace = seconds_a_row(codec, rows, sampler())
                kept["rows"] = rows_within(training_seconds, pace)
            _keep(run, checkpoint, kept)
        shifts += settle_marks(model, codec, rows, sampler, seed, kept["rows"], progress)
        # Apply the total shift at once, as the next call will, so that both agree to the last bit.
        model.load_state_dict(before)
        kept["shifts"] = shifts.tolist()
        _keep(run, checkpoint, kept)
    model.shift_marks(torch.tensor(kept["shifts"]))


def _kept(run: Run) -> dict[str, Any]:
    return dict(run.read_json("run.json").get("marks", {}))


def _keep(run: Run, checkpoint: str, kept: dict[str, Any]) -> None:
    run.update(marks=_kept(run) | {checkpoint: kept})
