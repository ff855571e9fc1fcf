"""How often relations hold in the rows that a network draws, put right by drawing them.

A network may expect each mark as often as it stands (see `calibration`), and yet draw it too seldom
or too often: it draws from what it drew before, not from real rows, and a number that was drawn
before the one that makes it is in the right bin only now and then. So rows are drawn, some with
nothing given and some with a third of their columns, their relations are counted as anybody would,
and the marks' biases are shifted by what is missing, a few times over, in ever smaller steps: each
count is noisy, and steps of 1, 1, 1/2, 1/3 average the noise away (Robbins and Monro, 1951).

Some networks draw two hundred rows in a second, so that all of it takes minutes: where the time for
a training is bounded fewer rows are drawn, or none.
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

# Rows that are drawn for each of the shares that are given, the fewest where time is short, and how
# much of what is missing is made good after each time. With 256 rows the average of all is off by a
# point of a relation that holds in half of the rows (one standard error).
ROWS, FEWEST_ROWS = 4_096, 256
STEPS = (1.0, 1.0, 1 / 2, 1 / 3)
# Shares of the columns that are given.
GIVEN = (0.0, 1 / 3)
# Of a relation that holds in fewer of those rows, nothing can be said.
FEWEST = 12
# The most that one step adds to a mark's log-odds.
MOST = 2.0
# Of the time that a training may take, the part that this may; and rows that are timed before.
TIME_SHARE = 0.05
TIMED_ROWS = 128
# Apart from all other streams of a run's seed.
DRAWN, TIMED = 0xD5A3, 0x71ED

Floats = NDArray[np.float64]
Sampler = StudentSampler | TeacherSampler


class Marking(Protocol):
    """A network that draws marks: either tier's."""

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
    """Shift the biases of a network's marks until relations hold in as many of its rows as of those
    of the table.

    Args:
        model: the network; changed in place. Nothing is done to one without marks.
        codec: of the rows.
        rows: int64 [n, T + relations], of the table, wherever they lie; see `Marks`.
        sampler: of the network as it is by now.
        seed: of the rows that are looked at, and of what is drawn.
        drawn: rows each time, for each share that is given; 0: nothing is done. See `rows_within`.
        progress: told rows that are drawn, of all.

    Returns:
        float32 [M], what was added to the log-odds of each of the layout's marks.
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
    """Rows that `settle_marks` is to draw each time, where the whole training may take so long."""
    times = len(STEPS) * len(GIVEN)
    rows = min(ROWS, int(TIME_SHARE * seconds / (times * seconds_a_row)))
    return rows if rows >= FEWEST_ROWS else 0


def seconds_a_row(
    codec: Codec,
    rows: StoredTokens | Tensor,
    sampler: Sampler,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """What drawing a row takes here; a few are timed, and nothing is kept."""
    rng = np.random.default_rng(TIMED)
    frame = _some_rows(codec, rows, TIMED_ROWS, rng)
    nothing = np.zeros((TIMED_ROWS, len(codec.columns)), np.bool_)
    began = clock()
    flags_of(codec.schema, complete_rows(sampler, codec, frame, nothing, rng))
    return max(clock() - began, 1e-9) / TIMED_ROWS


def _some_rows(
    codec: Codec, rows: StoredTokens | Tensor, count: int, rng: np.random.Generator
) -> Frame:
    """Rows of a table, some of them more than once, as values."""
    picked = rng.integers(len(rows), size=count)
    whole = rows[torch.from_numpy(picked)].cpu()
    every = torch.ones((count, len(codec.layout.sizes)), dtype=torch.bool)
    # With their marks, so that what they decode to keeps the relations that the rows had.
    marked = Marks(codec.layout).student_inputs(whole.long(), every, None)
    return codec.decode(marked.numpy().astype(np.int32), rng)


def missing_odds(wanted: Floats, held: Floats, rows: int) -> Floats:
    """What is to be added to the log-odds of relations that hold too seldom, or too often.

    Args:
        wanted: [R], the share of the rows in which each is to hold.
        held: [k, R], shares of rows of several kinds; what each of them lacks counts alike.
        rows: that a share is of, of each kind.

    Returns:
        [R], at most `MOST` in size; 0 of a relation that holds in hardly any row, or in all.
    """
    few, most = 0.5 / rows, 1 - 0.5 / rows
    lacking = _log_odds(np.clip(wanted, few, most)) - _log_odds(np.clip(held, few, most))
    counted = (wanted * rows >= FEWEST) & ((1 - wanted) * rows >= FEWEST)
    mean: Floats = np.clip(lacking.mean(axis=0), -MOST, MOST)
    return np.where(counted, mean, 0.0)


def _log_odds(share: Floats) -> Floats:
    odds: Floats = np.log(share / (1 - share))
    return odds
