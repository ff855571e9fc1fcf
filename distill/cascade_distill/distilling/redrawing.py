"""Rows of a teacher in which every column has been drawn once more, given all the others.

A row is drawn column after column, each given those before it. What goes astray early on, all that
follows is drawn to fit. Drawn once more, a number also has to fit what came after it: one sweep of
Gibbs sampling, of the conditionals that a masked model knows best, those of which nothing else is
missing. It costs as much as drawing the rows did, and so is for rows that are learnt from rather
than for those that somebody waits for; docs/training.md has what it is worth.
"""

from __future__ import annotations

import numpy as np
from cascade_tables import Codec, Frame, TokenLayout
from cascade_tables.sampling import Denoise, Tokens

# Rows a pass, as few as are fast: noise is a few kilobytes a row.
PART = 1_024


def redrawn(
    denoise: Denoise,
    tokens: Tokens,
    layout: TokenLayout,
    rng: np.random.Generator,
) -> Tokens:
    """The rows after every column has been drawn once more, each row in an order of its own.

    For layouts without marks, whose tokens say all there is to say of a row; see `redrawn_values`
    for others. Columns that lead, on which all others are conditioned, stay as they are.

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
    """`redrawn` of rows in which a token may say that a number is what a relation makes of others.

    What is drawn once more are values, and the others are read anew each time: were a column left
    as it is where another leans on it, relations would be found more often by every sweep than they
    are, since a row in which none holds has two chances to get it and one to lose it. Rows of a
    part share an order.

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
