"""Rows that a finished teacher draws for its student, kept a batch at a time.

Drawing a hundred thousand rows takes minutes to hours. Each batch has its own random streams,
derived from the seed and the batch's number, and its own file until all batches are done. An
interrupted or killed command therefore continues where it stopped, and ends with the same rows.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from cascade_tables import Codec
from numpy.typing import NDArray

from cascade_distill.distilling.redrawing import redrawn, redrawn_values
from cascade_distill.errors import DrawingStopped, RunDamaged
from cascade_distill.learning.rows import identity_of
from cascade_distill.runs.checkpoint import load_tensors, save_tensors
from cascade_distill.runs.finished import teacher_graph
from cascade_distill.runs.run import Run
from cascade_distill.runs.token_store import TokenWriter
from cascade_distill.runtime import BATCH, TeacherSampler, sample_tokens

TEACHER_ROWS = "teacher_rows.safetensors"
# Folder of batches while some are missing.
BATCHES = "teacher_rows"
# Random streams, separate from each other and from those of samples for evaluation.
DRAWN, INSIDE_BINS, REDRAWN = 0xD4A1, 0xB145, 0x5EE9


def draw_teacher_rows(
    run: Run,
    rows: int,
    seed: int,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Draw the rows that the student learns from and is validated with, unless they are there
    already.

    Args:
        run: a run with a finished teacher.
        rows, seed: number of rows, and seed of their random streams.
        threads: CPU threads for a batch.
        progress: called with (done, rows); existing rows count as done.

    Raises:
        DrawingStopped: Ctrl-C; whole batches were kept.
    """
    teacher = teacher_graph(run)
    identity = identity_of(run, ["teacher.onnx"], rows, seed, "values redrawn")
    path, folder = run.path(TEACHER_ROWS), run.path(BATCHES)
    if path.exists() and load_tensors(path)[1].get("identity") == identity:
        # Left over if the command was killed between the last two steps.
        shutil.rmtree(folder, ignore_errors=True)
        return
    codec = run.codec()
    sampler = TeacherSampler(str(teacher), codec.layout, threads)
    files, most, whole = [folder / f"{begin // BATCH:06}" for begin in range(0, rows, BATCH)], 0, 0
    started = time.monotonic()
    try:
        for number, file in enumerate(files):

            def told(done: int, before: int = whole) -> None:
                if progress is not None:
                    progress(before + done, rows)

            batch = _kept(file, identity)
            if batch is None:
                size = min(BATCH, rows - whole)
                batch = one_batch(codec, sampler, size, (seed, number), told)
                save_tensors(file, {"rows": torch.from_numpy(batch)}, {"identity": identity})
            most, whole = max(most, int(batch.max())), whole + len(batch)
            told(len(batch))
    except KeyboardInterrupt:
        raise DrawingStopped(whole, rows, folder) from None
    finally:
        run.add_seconds("teacher_rows", time.monotonic() - started)
    with TokenWriter(path, rows, codec.learnable_width, most, identity) as writer:
        for file in files:
            writer.append(load_tensors(file)[0]["rows"].numpy())
        writer.commit()
    shutil.rmtree(folder, ignore_errors=True)


def _kept(file: Path, identity: str) -> NDArray[np.int32] | None:
    """Load a batch drawn earlier with the same identity; None if there is none to read."""
    if not file.exists():
        return None
    try:
        tensors, metadata = load_tensors(file)
    except RunDamaged:
        return None
    return tensors["rows"].numpy() if metadata.get("identity") == identity else None


def one_batch(
    codec: Codec,
    sampler: TeacherSampler,
    rows: int,
    seed: tuple[int, int],
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.int32]:
    """Draw rows for a student, then redraw every column of them once.

    Args:
        codec, sampler: of the teacher.
        rows: at most as many as are drawn in one pass.
        seed: the run's, and the batch's number.
        progress: called with the rows done; drawing and redrawing count as half of the work each.

    Returns:
        int32 [rows, T + relations]; see `Codec.learnable`.
    """
    told = progress or (lambda _: None)
    tokens = sample_tokens(sampler, rows, [DRAWN, *seed])
    told(rows // 2)
    rng = np.random.default_rng([REDRAWN, *seed])
    if codec.layout.marks:
        return redrawn_values(sampler.denoise, tokens, codec, rng)
    return _relearnable(codec, redrawn(sampler.denoise, tokens, codec.layout, rng), seed)


def _relearnable(
    codec: Codec, tokens: NDArray[np.int32], seed: tuple[int, int]
) -> NDArray[np.int32]:
    """Make drawn rows learnable: compute numbers that follow from others, and look up anew which
    relations hold.
    """
    if not codec.arithmetic:
        return np.pad(tokens, ((0, 0), (0, len(codec.schema.relations))))
    frame = codec.decode(tokens, np.random.default_rng([INSIDE_BINS, *seed]))
    return codec.learnable(frame)
