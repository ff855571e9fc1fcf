"""Rows of a teacher in which every column has been drawn once more, given all the others.

A row is drawn column after column, each given those before it. What goes astray early on, all that
follows is drawn to fit. Drawn once more, a number also has to fit what came after it: one sweep of
Gibbs sampling, of the conditionals that a masked model knows best, those of which nothing else is
missing. It costs as much as drawing the rows did, and so is for rows that are learnt from rather
than for those that somebody waits for; docs/training.md has what it is worth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from cascade_tables import TokenLayout
from cascade_tables.sampling import Denoise, Tokens
from numpy.typing import NDArray

# Rows a pass, as few as are fast: noise is a few kilobytes a row.
PART = 1_024


def redrawn(
    denoise: Denoise,
    tokens: Tokens,
    layout: TokenLayout,
    rng: np.random.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> Tokens:
    """The rows after every column has been drawn once more, each row in an order of its own.

    A column stays as it is while another is what a relation makes of it (a mark stands, see
    `cascade_tables.codecs.marks`): the other would silently become another number. So do columns
    that lead, on which all others are conditioned.

    Args:
        denoise: the teacher's; see `cascade_tables.sampling`.
        tokens: int32 [n, T], complete rows.
        layout: of the slots.
        rng: of orders and draws.
        progress: told (done, rows).

    Returns:
        int32 [n, T].
    """
    parts = []
    for begin in range(0, len(tokens), PART):
        parts.append(_sweep(denoise, tokens[begin : begin + PART].copy(), layout, rng))
        if progress is not None:
            progress(begin + len(parts[-1]), len(tokens))
    return np.concatenate(parts) if parts else tokens


def _sweep(
    denoise: Denoise, tokens: Tokens, layout: TokenLayout, rng: np.random.Generator
) -> Tokens:
    columns = len(layout.first_slot)
    column = np.asarray(layout.column)
    leads = layout.first_slot < layout.leading
    order = rng.random((len(tokens), columns)).argsort(axis=1)
    for turn in order.T:
        free = ~(leads[turn] | _leant_upon(tokens, layout)[np.arange(len(tokens)), turn])
        rows = np.flatnonzero(free)
        if not len(rows):
            continue
        hidden = column[None, :] == turn[rows, None]
        noise = rng.random((len(rows), sum(layout.sizes)), dtype=np.float32)
        drawn = denoise(np.where(hidden, 0, tokens[rows]), ~hidden, noise)
        tokens[rows] = np.where(hidden, drawn, tokens[rows])
    return tokens


def _leant_upon(tokens: Tokens, layout: TokenLayout) -> NDArray[np.bool_]:
    """bool [n, C]: the columns of which a mark that stands in the row makes another one."""
    out = np.zeros((len(tokens), len(layout.first_slot)), bool)
    for mark in layout.marks:
        out[np.ix_(tokens[:, mark.slot] == mark.token, mark.others)] = True
    return out
