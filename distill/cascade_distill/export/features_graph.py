"""The teacher's table of numeric features, built by graph nodes; see `feature_table`.

Features follow from ranks, and most ranks follow from two numbers per bin, so the file stores only
these. The table is computed once, when a session is created.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cascade_tables import TokenLayout

from cascade_distill.export.graph import DOUBLE, FLOAT, FLOAT16, Graph
from cascade_distill.models.features import OCTAVES, Ranks, ranks_of


def features_of(
    g: Graph, layout: TokenLayout, slots: Sequence[int]
) -> tuple[str, dict[int, int], int]:
    """Build the features of all token pairs of some numeric slots.

    Returns:
        The table [rows + 1, WIDTH], whose last row is zeros; the first row of each slot; and the
        index of the last row.
    """
    by_place: dict[tuple[float, ...], list[tuple[int, Ranks]]] = {}
    for slot in slots:
        ranks = ranks_of(layout, slot)
        by_place.setdefault(tuple(ranks.place.tolist()), []).append((slot, ranks))
    parts, starts, end = [], {}, 0
    for alike in by_place.values():
        parts.append(_ranks(g, [ranks for _, ranks in alike]))
        for slot, ranks in alike:
            starts[slot] = end
            end += len(ranks.middle) * len(ranks.place)
    parts.append(g.weight("unknown", np.array([[np.nan]], np.float32)))
    return _features(g, g.folded("Concat", *parts, axis=0)), starts, end


def _ranks(g: Graph, alike: Sequence[Ranks]) -> str:
    """Build the ranks of slots with equal fine-token places, all pairs concatenated: [rows, 1]."""
    middle = g.weight("middle", np.concatenate([each.middle for each in alike])[:, None])
    width = g.weight("width", np.concatenate([each.width for each in alike])[:, None])
    place = g.weight("place", alike[0].place[None].astype(np.float64))
    low, high = (g.weight("clip", np.array(v, np.float64)) for v in (0, 1))
    spread = g.folded("Mul", place, width)
    spread = g.folded("Add", g.folded("Cast", middle, to=DOUBLE), spread)
    ranks = g.folded("Cast", g.folded("Clip", spread, low, high), to=FLOAT)
    # No standard defines the result of clipping NaN.
    ranks = g.folded("Where", g.folded("IsNaN", middle), middle, ranks)
    begin = np.cumsum([0, *(len(each.middle) for each in alike)])
    marks = [
        start + token for start, each in zip(begin, alike, strict=False) for token in each.marks
    ]
    if marks:
        marked = g.weight("marked", np.concatenate([each.marked for each in alike]))
        indices = g.weight("marks", np.array(marks, np.int64)[:, None])
        ranks = g.folded("ScatterND", ranks, indices, marked)
    return g.folded("Reshape", ranks, g.weight("shape", np.array([-1, 1], np.int64)))


def _features(g: Graph, ranks: str) -> str:
    """Build `fourier_features` of ranks [rows, 1]: [rows, WIDTH]."""
    hidden, zero = g.folded("IsNaN", ranks), g.weight("zero", np.array(0, np.float32))
    rank = g.folded("Cast", g.folded("Where", hidden, zero, ranks), to=DOUBLE)
    octaves = np.pi * 2.0 ** np.arange(OCTAVES)
    angle = g.folded("Mul", rank, g.weight("octaves", octaves[None]))
    two, one = (g.weight("one", np.array([[v]], np.float64)) for v in (2, 1))
    rank = g.folded("Sub", g.folded("Mul", rank, two), one)
    waves = [g.folded("Sin", angle), g.folded("Cos", angle)]
    whole = g.folded("Concat", rank, *waves, axis=1)
    whole = g.folded(
        "Pad",
        whole,
        g.weight("pads", np.array([0, 0, 0, 1], np.int64)),
        g.weight("one", np.array(1, np.float64)),
    )
    for kind in (FLOAT, FLOAT16, FLOAT):
        whole = g.folded("Cast", whole, to=kind)
    return g.folded("Where", hidden, zero, whole)
