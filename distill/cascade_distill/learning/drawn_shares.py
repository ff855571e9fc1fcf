"""Correction of how often relations hold in the rows that a network draws.

A network may expect each mark as often as it occurs (see `calibration`), and yet draw it too rarely
or too often. It conditions on what it drew before, not on real rows, and the numbers that a
relation combines are only sometimes drawn in the right bin. So this module draws rows, some with
nothing given and some with a third of their columns given, counts how often each relation holds,
and shifts the marks' biases by the difference. It repeats this in ever smaller steps: each count is
noisy, and steps of 1, 1, 1/2, 1/3 average the noise away (Robbins and Monro, 1951).

Some networks draw only two hundred rows per second, so that the correction takes minutes. If the
time for a training is bounded, fewer rows are drawn, or none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from cascade_tables import Codec, Frame
from cascade_tables.codecs.following.marks import flags_of
from numpy.typing import NDArray
from torch import Tensor

from cascade_distill.models.marks import Marks
from cascade_distill.runs.token_store import StoredTokens
from cascade_distill.runtime import StudentSampler, TeacherSampler, complete_rows

# Rows drawn for each share of given columns, the fewest if time is short, and the step sizes. With
# 256 rows, the average has a standard error of one point for a relation that holds in half of the
# rows.
ROWS, FEWEST_ROWS = 4_096, 256
STEPS = (1.0, 1.0, 1 / 2, 1 / 3)
# Shares of the columns that are given.
GIVEN = (0.0, 1 / 3)
# A relation that holds in fewer of these rows gives no usable estimate.
FEWEST = 12
# The most that one step adds to a mark's log-odds.
MOST = 2.0
# Share of the allowed training time that this correction may take; and rows drawn to time it.
TIME_SHARE = 0.05
TIMED_ROWS = 128
# Separate these random streams from all others of a run's seed.
DRAWN, TIMED = 0xD5A3, 0x71ED

Floats = NDArray[np.float64]
Sampler = StudentSampler | TeacherSampler


class Marking(Protocol):
    """A network that draws marks: a teacher or a student."""

    def shift_marks(self, shifts: Tensor) -> None:
        """Add to the log-odds of each of the layout's marks: [M]."""


def settle_marks(
    model: Marking,
    codec: Codec,
    rows: StoredTokens | Tensor,
    sampler: Callable[[], Sampler],
    seed: int,
    drawn: int = ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Shift the biases of a network's marks until relations hold as often in its rows as in the
    table.

    Args:
        model: the network; changed in place. Unchanged if it has no marks.
        codec: of the rows.
        rows: int64 [n, T + relations], rows of the table, on any device; see `Marks`.
        sampler: returns a sampler of the network in its current state.
        seed: selects the table's rows and the draws.
        drawn: rows per round for each share of given columns; 0: do nothing. See `rows_within`.
        progress: called with the number of rows drawn, and of all rows to draw.

    Returns:
        float32 [M], the shift added to the log-odds of each of the layout's marks.
    """
    added = torch.zeros(len(codec.layout.marks))
    if not codec.layout.marks or not len(rows) or not drawn:
        return added
    rng = np.random.default_rng([DRAWN, seed])
    frame = _some_rows(codec, rows, ROWS, rng)
    wanted = flags_of(codec.schema, frame).mean(axis=0)
    frame = frame.take(np.arange(drawn))
    relation = [mark.relation for mark in codec.layout.marks]
    done, total = 0, len(STEPS) * len(GIVEN) * drawn

    def more(rows: int) -> None:
        nonlocal done
        done += rows
        if progress is not None:
            progress(done, total)

    for step in STEPS:
        now, held = sampler(), []
        for share in GIVEN:
            given = rng.random((drawn, len(codec.columns))) < share
            found = complete_rows(now, codec, frame, given, rng, more)
            held.append(flags_of(codec.schema, found).mean(axis=0))
        missing = step * missing_odds(wanted, np.array(held), drawn)
        shift = torch.from_numpy(missing[relation]).float()
        model.shift_marks(shift)
        added += shift
    return added


def rows_within(seconds: float, seconds_a_row: float) -> int:
    """Return how many rows `settle_marks` should draw per round if the whole training may take
    `seconds`.
    """
    times = len(STEPS) * len(GIVEN)
    rows = min(ROWS, int(TIME_SHARE * seconds / (times * seconds_a_row)))
    return rows if rows >= FEWEST_ROWS else 0


def seconds_a_row(
    codec: Codec,
    rows: StoredTokens | Tensor,
    sampler: Sampler,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Measure the time to draw a row on this machine; the drawn rows are discarded."""
    rng = np.random.default_rng(TIMED)
    frame = _some_rows(codec, rows, TIMED_ROWS, rng)
    nothing = np.zeros((TIMED_ROWS, len(codec.columns)), np.bool_)
    began = clock()
    flags_of(codec.schema, complete_rows(sampler, codec, frame, nothing, rng))
    return max(clock() - began, 1e-9) / TIMED_ROWS


def _some_rows(
    codec: Codec, rows: StoredTokens | Tensor, count: int, rng: np.random.Generator
) -> Frame:
    """Return random rows of a table as values; a row may occur more than once."""
    picked = rng.integers(len(rows), size=count)
    whole = rows[torch.from_numpy(picked)].cpu()
    every = torch.ones((count, len(codec.layout.sizes)), dtype=torch.bool)
    # Include marks, so that decoded rows keep the relations that held in the rows.
    marked = Marks(codec.layout).student_inputs(whole.long(), every, None)
    return codec.decode(marked.numpy().astype(np.int32), rng)


def missing_odds(wanted: Floats, held: Floats, rows: int) -> Floats:
    """Return the shift of the log-odds of relations that hold too rarely or too often.

    Args:
        wanted: [R], the share of rows in which each relation should hold.
        held: [k, R], the measured shares for k kinds of rows; all kinds have equal weight.
        rows: number of rows of each kind.

    Returns:
        [R], at most `MOST` in size; 0 for a relation that holds in hardly any row, or in all.
    """
    few, most = 0.5 / rows, 1 - 0.5 / rows
    lacking = _log_odds(np.clip(wanted, few, most)) - _log_odds(np.clip(held, few, most))
    counted = (wanted * rows >= FEWEST) & ((1 - wanted) * rows >= FEWEST)
    mean: Floats = np.clip(lacking.mean(axis=0), -MOST, MOST)
    return np.where(counted, mean, 0.0)


def _log_odds(share: Floats) -> Floats:
    odds: Floats = np.log(share / (1 - share))
    return odds
