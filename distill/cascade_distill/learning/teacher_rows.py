"""Rows that a finished teacher makes for its student, kept a batch at a time.

Drawing a hundred thousand rows takes minutes to hours. Each batch has random streams of its own, of
the seed and the batch's number, and lies in a file of its own until all are there: what was stopped
or killed goes on where it was, and ends with the rows that it would have had.
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
# The folder of batches while some are missing.
BATCHES = "teacher_rows"
# Streams apart from each other and from those of samples that are looked at.
DRAWN, INSIDE_BINS, REDRAWN = 0xD4A1, 0xB145, 0x5EE9


def draw_teacher_rows(
    run: Run,
    rows: int,
    seed: int,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Make the rows that the student learns from and is looked at with, unless they are there.

    Args:
        run: whose teacher is finished.
        rows, seed: how many, and of which streams.
        threads: of the processor, for one batch.
        progress: told (done, rows); those that were there already count as done.

    Raises:
        DrawingStopped: Ctrl-C; batches that are whole were kept.
    """
    teacher = teacher_graph(run)
    identity = identity_of(run, ["teacher.onnx"], rows, seed, "values redrawn")
    path, folder = run.path(TEACHER_ROWS), run.path(BATCHES)
    if path.exists() and load_tensors(path)[1].get("identity") == identity:
        # Left where the command was killed between the last two steps.
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
    """A batch that was drawn before, of the same teacher and to the same end; None: there is none
    that can be read."""
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
    """Rows for a student: drawn, and then every column of them drawn once more.

    Args:
        codec, sampler: of the teacher.
        rows: at most as many as are drawn in one pass.
        seed: the run's, and the batch's number.
        progress: told how many are done; drawing and drawing once more are half of the work each.

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
    """Drawn rows as rows to learn from: numbers that follow from others are what they are computed
    to be, and which relations hold is looked up anew."""
    if not codec.arithmetic:
        return np.pad(tokens, ((0, 0), (0, len(codec.schema.relations))))
    frame = codec.decode(tokens, np.random.default_rng([INSIDE_BINS, *seed]))
    return codec.learnable(frame)
