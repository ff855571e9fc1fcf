"""Redrawing of teacher rows: every column once more, given all the others.

A row is drawn column after column, each given those before it. If an early column is wrong, all
later ones are drawn to fit it. Redrawing makes a number also fit the columns drawn after it: one
sweep of Gibbs sampling, using the conditionals that a masked model knows best, those with nothing
else missing. It costs as much as drawing the rows did, so it is used for training rows and not for
requests that somebody waits for; docs/training.md reports the benefit.
"""

from __future__ import annotations

import numpy as np
from cascade_tables import Codec, Frame, TokenLayout
from cascade_tables.sampling import Denoise, Tokens

# Rows per pass, as few as are fast: noise takes a few kilobytes per row.
PART = 1_024


def redrawn(
    denoise: Denoise,
    tokens: Tokens,
    layout: TokenLayout,
    rng: np.random.Generator,
) -> Tokens:
    """Redraw every column once, each row in its own random order.

    For layouts without marks, in which tokens describe a row completely; see `redrawn_values` for
    others. Leading columns, on which all others are conditioned, stay as they are.

    Args:
        denoise: the teacher's; see `cascade_tables.sampling`.
        tokens: int32 [n, T], complete rows.
        layout: of the slots.
        rng: of orders and draws.

    Returns:
        int32 [n, T].
    """
    assert not layout.marks
    parts = []
    for begin in range(0, len(tokens), PART):
        parts.append(_sweep(denoise, tokens[begin : begin + PART].copy(), layout, rng))
    return np.concatenate(parts) if parts else tokens


def _sweep(
    denoise: Denoise, tokens: Tokens, layout: TokenLayout, rng: np.random.Generator
) -> Tokens:
    column = np.asarray(layout.column)
    leads = layout.first_slot < layout.leading
    order = rng.random((len(tokens), len(layout.first_slot))).argsort(axis=1)
    for turn in order.T:
        rows = np.flatnonzero(~leads[turn])
        if not len(rows):
            continue
        hidden = column[None, :] == turn[rows, None]
        noise = rng.random((len(rows), sum(layout.sizes)), dtype=np.float32)
        drawn = denoise(np.where(hidden, 0, tokens[rows]), ~hidden, noise)
        tokens[rows] = np.where(hidden, drawn, tokens[rows])
    return tokens


def redrawn_values(
    denoise: Denoise,
    tokens: Tokens,
    codec: Codec,
    rng: np.random.Generator,
) -> Tokens:
    """Redraw rows in which a mark may say that a relation computes a number from others.

    Redraws values, and encodes the other columns anew each time. If a column that another depends
    on stayed as it is, every sweep would increase how often relations hold: a row in which none
    holds has two chances to gain one and one to lose it. The rows of a part share an order.

    Args:
        denoise: the teacher's.
        tokens: int32 [n, T], complete rows.
        codec: of the table.
        rng: of orders, draws and places inside of bins.

    Returns:
        int32 [n, T + relations]; see `Codec.learnable`.
    """
    layout, names = codec.layout, codec.schema.names
    free = np.flatnonzero(layout.first_slot >= layout.leading)
    parts = [np.zeros((0, codec.learnable_width), np.int32)]
    for begin in range(0, len(tokens), PART):
        drawn = codec.decode(tokens[begin : begin + PART], rng)
        columns, rows = {name: drawn[name] for name in names}, len(drawn)
        given = {name: columns[name].to_list() for name in names}
        for place in rng.permutation(free):
            name = names[place]
            others = {other: values for other, values in given.items() if other != name}
            known = codec.encode_partial(others, rows)
            noise = rng.random((rows, sum(layout.sizes)), dtype=np.float32)
            again = denoise(known.tokens, known.observed, noise)
            columns[name] = codec.decode_columns(again, rng, (name,), others)[name]
            given[name] = columns[name].to_list()
        parts.append(codec.learnable(Frame(columns)))
    return np.concatenate(parts)
