"""How often relations hold in the rows that a network draws, put right by drawing them.

A network may expect each mark as often as it stands (see `calibration`), and yet draw it too seldom
or too often: it draws from what it drew before, not from real rows, and a number that was drawn
before the one that makes it is in the right bin only now and then. So rows are drawn, some with
nothing given and some with a third of their columns, their relations are counted as anybody would,
and the marks' biases are shifted by what is missing, a few times over, in ever smaller steps: each
count is noisy, and steps of 1, 1, 1/2, 1/3 average the noise away (Robbins and Monro, 1951).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from cascade_tables import Codec
from cascade_tables.codecs.following.marks import flags_of
from numpy.typing import NDArray
from torch import Tensor

from cascade_distill.models.marks import Marks
from cascade_distill.runs.token_store import StoredTokens
from cascade_distill.runtime import StudentSampler, TeacherSampler, complete_rows

# Rows that are drawn for each of the shares that are given, and how much of what is missing is made
# good after each time.
ROWS = 4_096
STEPS = (1.0, 1.0, 1 / 2, 1 / 3)
# Shares of the columns that are given.
GIVEN = (0.0, 1 / 3)
# Of a relation that holds in fewer of those rows, nothing can be said.
FEWEST = 12
# The most that one step adds to a mark's log-odds.
MOST = 2.0
# Of the time that a training may take, the part that this may.
TIME_SHARE = 0.05
# Apart from all other streams of a run's seed.
DRAWN = 0xD5A3

Floats = NDArray[np.float64]


class Marking(Protocol):
    """A network that draws marks: either tier's."""

    def shift_marks(self, by: Tensor) -> None:
        """Add to the log-odds of each of the layout's marks: [M]."""


def settle_marks(
    model: Marking,
    codec: Codec,
    rows: StoredTokens | Tensor,
    sampler: Callable[[], StudentSampler | TeacherSampler],
    seed: int,
    training_seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Shift the biases of a network's marks until relations hold in as many of its rows as of those
    of the table.

    Args:
        model: the network; changed in place. Nothing is done to one without marks.
        codec: of the rows.
        rows: int64 [n, T + relations], of the table, wherever they lie; see `Marks`.
        sampler: of the network as it is by now.
        seed: of the rows that are looked at, and of what is drawn.
        training_seconds: that the whole training may take, if that is bounded: rows are then drawn
            again only while there is time.
        clock: seconds.
    """
    if not codec.layout.marks or not len(rows):
        return
    rng = np.random.default_rng([DRAWN, seed])
    picked = rng.integers(len(rows), size=ROWS)
    whole = rows[torch.from_numpy(picked)].cpu()
    every = torch.ones((ROWS, len(codec.layout.sizes)), dtype=torch.bool)
    # With their marks, so that what they decode to keeps the relations that the rows had.
    marked = Marks(codec.layout).student_inputs(whole.long(), every, None)
    frame = codec.decode(marked.numpy().astype(np.int32), rng)
    wanted = flags_of(codec.schema, frame).mean(axis=0)
    began = clock()
    for done, step in enumerate(STEPS):
        # Another time takes as long as those before.
        ends = (clock() - began) * (1 + 1 / done) if done else 0.0
        if training_seconds is not None and ends > TIME_SHARE * training_seconds:
            return
        now = sampler()
        held = [
            flags_of(
                codec.schema,
                complete_rows(now, codec, frame, rng.random((ROWS, len(codec.columns))) < g, rng),
            ).mean(axis=0)
            for g in GIVEN
        ]
        missing = step * missing_odds(wanted, np.array(held), ROWS)
        relation = [mark.relation for mark in codec.layout.marks]
        model.shift_marks(torch.from_numpy(missing[relation]).float())


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
