"""Neighbour biases of numbers as nodes of the teacher's graph; see `Nearness`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cascade_tables.codecs.columns.binned_codec import COARSE, FINE
from numpy.typing import NDArray
from torch import Tensor

from cascade_distill.export.graph import FLOAT, INT32, INT64, Graph
from cascade_distill.models.nearness import (
    BESIDE,
    LAID,
    MASSES_FROM,
    PLACES,
    STEPS,
    WINDOW,
    Nearness,
)
from cascade_distill.models.neighbours import CODES, MASS_APART, UNKNOWN

_INT = np.int64


def seen_codes(g: Graph, near: Nearness, tokens: str) -> str:
    """Build the codes of the neighbours: int64 [n, S * K], `UNKNOWN` if not known."""
    count, most, _ = near.shape
    unknown = g.weight("unknown", np.array(UNKNOWN, _INT))
    parts = []
    if near.numbers:
        slots = near.slot.flatten().numpy()
        table = _codes(g, near.codes.numpy())
        codes = _of_pairs(g, tokens, slots, near.scale, near.start, table)
        known = g.op("Gather", "observed", g.weight("slots", slots), axis=1)
        parts.append(g.op("Where", known, g.op("Cast", codes, to=INT64), unknown))
    if near.sums:
        parts.append(g.op("Where", *_codes_of_sums(g, near, tokens), unknown))
    if len(parts) == 1:
        return parts[0]
    # Reorder from all numbers before all sums to the neighbours of each number side by side.
    order = [
        at * near.numbers + k
        if k < near.numbers
        else count * near.numbers + at * near.sums + k - near.numbers
        for at in range(count)
        for k in range(most)
    ]
    joined = g.op("Concat", *parts, axis=1)
    return g.op("Gather", joined, g.weight("order", np.array(order, _INT)), axis=1)


def _codes(g: Graph, codes: NDArray[np.int64]) -> str:
    """Build the table of codes, stored as int16 with point masses after the bins' codes."""
    mass = codes // MASS_APART
    assert (codes[mass > 0] == MASS_APART * mass[mass > 0]).all()
    short = np.where(codes < 0, -1, np.where(mass > 0, CODES + mass, codes)).astype(np.int16)
    kept = g.folded("Cast", g.blocks("codes", short), to=INT32)
    unknown, none, first, apart = (
        g.weight("code", np.array(v, np.int32)) for v in (UNKNOWN, 0, CODES, MASS_APART)
    )
    masses = g.folded("Mul", g.folded("Sub", kept, first), apart)
    table = g.folded("Where", g.folded("Greater", kept, first), masses, kept)
    return g.folded("Where", g.folded("Less", kept, none), unknown, table)


def _of_pairs(
    g: Graph, tokens: str, slots: NDArray[np.int64], scale: Tensor, start: Tensor, table: str
) -> str:
    """Look up the token pairs of some slots and their fine slots in a table: [n, slots]."""
    coarse = g.op("Gather", tokens, g.weight("slots", slots), axis=1)
    fine = g.op("Gather", tokens, g.weight("slots", slots + 1), axis=1)
    pair = g.op("Mul", coarse, g.weight("scale", scale.flatten().numpy()[None]))
    start_of = g.weight("starts", start.flatten().numpy()[None])
    return g.op("Gather", table, g.op("Add", g.op("Add", pair, fine), start_of), axis=0)


def _codes_of_sums(g: Graph, near: Nearness, tokens: str) -> tuple[str, str]:
    """Build whether both parts of each sum are known, and the sum's code: [n, S * sums]."""
    count = near.shape[0] * near.sums
    slots = near.added.flatten().numpy()
    values = g.blocks("values", near.values.numpy())
    # Folded, so that no runtime computes with NaN.
    nan = g.folded("IsNaN", values)
    none, one = (g.weight("none", np.array(v, np.float32)) for v in (0, 1))
    sides = g.weight("shape", np.array([-1, count, 2], _INT))
    table = g.folded("Where", nan, none, values)
    value = _of_pairs(g, tokens, slots, near.added_scale, near.added_start, table)
    value = g.op("Mul", value, g.weight("signs", near.signs.flatten().numpy()[None]))
    value = g.op("ReduceSum", g.op("Reshape", value, sides), g.axes(2), keepdims=1)
    lacking = g.folded("Where", nan, one, none)
    unknown = _of_pairs(g, tokens, slots, near.added_scale, near.added_start, lacking)
    hidden = g.op("Not", g.op("Gather", "observed", g.weight("slots", slots), axis=1))
    unknown = g.op("Add", unknown, g.op("Cast", hidden, to=FLOAT))
    unknown = g.op("ReduceSum", g.op("Reshape", unknown, sides), g.axes(2), keepdims=0)
    known = g.op("Less", unknown, g.weight("half", np.array(0.5, np.float32)))
    # Count the edges that the value is not below: first of the bins, then of the places inside its
    # bin.
    edges = near.edges.numpy()
    between = edges[:, FINE:-1:FINE].repeat(near.sums, axis=0)[None]
    bins = _count(g, g.op("GreaterOrEqual", value, g.weight("edges", between)))
    inside = edges[:, :-1].reshape(-1, FINE)[:, 1:]
    begin = COARSE * np.arange(near.shape[0], dtype=_INT).repeat(near.sums)
    row = g.op("Add", bins, g.weight("starts", begin[None]))
    places = g.op("Gather", g.weight("edges", inside), row, axis=0)
    places = _count(g, g.op("GreaterOrEqual", value, places))
    code = g.op("Mul", bins, g.weight("fine", np.array(FINE, _INT)))
    return known, g.op("Add", code, places)


def _count(g: Graph, true: str) -> str:
    """Count the true elements on the last axis of [n, m, c]: int64 [n, m]. Floats are summed
    faster.
    """
    count = g.op("ReduceSum", g.op("Cast", true, to=FLOAT), g.axes(2), keepdims=0)
    return g.op("Cast", count, to=INT64)


def coarse_bias(
    g: Graph, near: Nearness, stream: str, seen: str, at: NDArray[np.int64], tokens: int
) -> str:
    """Build the bias of the logits of all value slots: [n, tokens].

    Args:
        g: the teacher's graph.
        near: of the teacher.
        stream: [n, width].
        seen: int64 [n, S * K].
        at: indices among the logits of the numbers' coarse tokens, concatenated.
        tokens: number of logits.
    """
    count, most, mixture = near.shape
    # Pairs of a number with itself contribute nothing.
    real = _real(near)
    pairs = len(real)
    if pairs < count * most:
        seen = g.op("Gather", seen, g.weight("real", real), axis=1)
    weight, bias = (each.detach().numpy() for each in (near.gate.weight, near.gate.bias))
    weight = weight.reshape(count * most, mixture, -1)[real].reshape(pairs * mixture, -1)
    bias = bias.reshape(count * most, mixture)[real].reshape(-1)
    gates = g.op("Gemm", stream, g.weight("w", weight.T), g.weight("b", bias))
    shape = g.weight("shape", np.array([-1, pairs, 1, mixture], _INT))
    gates = g.op("Reshape", gates, shape)
    table = _kernels(g, near, real)
    size, whole = g.weight("fine", np.array(FINE, _INT)), g.weight("zero", np.array(0, _INT))
    row = g.op("Mod", seen, size)
    row = g.op("Add", row, g.weight("starts", FINE * np.arange(pairs, dtype=_INT)[None]))
    weights = g.op("MatMul", gates, g.op("Gather", table, row, axis=0))
    # Compute where each kernel is laid.
    limit = g.weight("codes", np.array(CODES, _INT))
    in_a_bin = g.op("And", g.op("GreaterOrEqual", seen, whole), g.op("Less", seen, limit))
    nowhere = g.weight("nowhere", np.array(near.nowhere, _INT))
    bins = g.op("Add", g.op("Div", seen, size), g.weight("bins", np.array(near.bins_at, _INT)))
    begin = g.op("Unsqueeze", g.op("Where", in_a_bin, bins, nowhere), g.axes(2))
    apart = g.weight("apart", np.array(MASS_APART, _INT))
    mass = g.op(
        "Add", g.op("Div", seen, apart), g.weight("masses", np.array(MASSES_FROM - 1, _INT))
    )
    place = g.op("Where", g.op("GreaterOrEqual", seen, apart), mass, nowhere)
    place = g.op("Unsqueeze", place, g.axes(2))
    window = g.weight("window", np.arange(WINDOW + 1, dtype=_INT)[None, None])
    beside = g.weight("beside", np.arange(2, dtype=_INT)[None, None])
    index = g.op("Concat", g.op("Add", begin, window), g.op("Add", place, beside), axis=2)
    # Each number has its own section of one row, so that a single node lays all kernels.
    rooms = near.room * (real // most)
    index = g.op("Add", index, g.weight("rooms", rooms[None, :, None]))
    flat = g.weight("shape", np.array([-1, pairs * LAID], _INT))
    index, weights = g.op("Reshape", index, flat), g.op("Reshape", weights, flat)
    rows_of = g.op("Shape", seen, start=0, end=1)
    empty = g.op("Concat", rows_of, g.weight("rooms", np.array([count * near.room], _INT)), axis=0)
    empty = g.op("ConstantOfShape", empty)
    laid_at = g.op("ScatterElements", empty, index, weights, axis=1, reduction="add")
    rows = g.weight("shape", np.array([-1, count, near.room], _INT))
    laid_of = g.op("CumSum", g.op("Reshape", laid_at, rows), g.weight("axis", np.array(2, _INT)))
    whole_row = g.weight("shape", np.array([-1, count * near.room], _INT))
    # Transposed, since many rows then gather contiguous memory.
    flat_row = g.op("Transpose", g.op("Reshape", laid_of, whole_row), perm=[1, 0])
    sizes = near.sizes
    own = near.columns.numpy() + near.room * np.repeat(np.arange(count), sizes)
    picked = np.zeros(tokens, np.int32)
    picked[at] = own
    gathered = g.op("Gather", flat_row, g.weight("picked", picked), axis=0)
    return g.op("Transpose", gathered, perm=[1, 0])


def _real(near: Nearness) -> NDArray[np.int64]:
    """Return which of the S * K pairs join two different numbers."""
    own = np.array(near.slots)[:, None]
    other = np.concatenate([near.slot.numpy(), near.added.numpy()[:, :, 0]], axis=1)
    return np.flatnonzero(other != own)


def _kernels(g: Graph, near: Nearness, pairs: NDArray[np.int64]) -> str:
    """Build the table of `Nearness.weights` of some pairs as differences: [pairs * FINE, M, LAID],
    one row per pair and place in the bin.
    """
    mixture = near.shape[2]
    learnt = near.kernel.detach().float().flatten(0, 1).numpy()[pairs]
    none = g.weight("none", np.zeros((len(pairs), mixture, 1), np.float32))
    kernel = g.folded("Concat", g.weight("kernel", learnt), none, axis=2)
    steps = near.steps().numpy()
    plus, minus = (g.weight("steps", steps[:, each]) for each in STEPS)
    table = g.folded("Sub", *(g.folded("Gather", kernel, each, axis=2) for each in (plus, minus)))
    table = g.folded("Transpose", table, perm=[0, 2, 1, 3])
    shape = g.weight("shape", np.array([len(pairs) * FINE, mixture, LAID], _INT))
    return g.folded("Reshape", table, shape)


def place_table(g: Graph, near: Nearness) -> str:
    """Build the table of place inputs for `fine_told`, all pairs concatenated.

    A pair of a number with itself only needs the first place, "before".
    """
    place = near.place.detach().float().flatten(0, 1).numpy()
    real = _real(near)
    told = [each if pair in real else each[:1] for pair, each in enumerate(place)]
    return g.weight("places", np.concatenate(told))


def fine_told(
    g: Graph,
    near: Nearness,
    table: str,
    seen: str,
    chosen: str,
    heads: Sequence[int],
    count: int,
) -> str:
    """Build the neighbour input of the heads for places inside bins: [n, count, fine].

    Args:
        g: the teacher's graph.
        near: of the teacher.
        table: see `place_table`.
        seen: int64 [n, S * K].
        chosen: int64 [n, count], the coarse tokens of all numbers that have such a head.
        heads: indices of the heads that have neighbour input.
        count: number of heads.
    """
    numbers, most, _ = near.shape
    head = np.array(heads, _INT).repeat(most)
    coarse = g.op("Gather", chosen, g.weight("heads", head), axis=1)
    begin = g.op("Sub", coarse, g.weight("bins", near.bins_from.numpy().repeat(most)[None]))
    begin = g.op("Mul", begin, g.weight("fine", np.array(FINE, _INT)))
    index = g.op("Sub", seen, begin)
    index = g.op("Add", index, g.weight("beside", np.array(FINE * BESIDE + 1, _INT)))
    low, high = (g.weight("clip", np.array(v, _INT)) for v in (0, PLACES - 1))
    index = g.op("Clip", index, low, high)
    rows = np.ones(numbers * most, _INT)
    rows[_real(near)] = PLACES
    starts = g.weight("pairs", (np.cumsum(rows) - rows)[None])
    told = g.op("Gather", table, g.op("Add", index, starts), axis=0)
    shape = g.weight("shape", np.array([-1, numbers, most, near.place.shape[3]], _INT))
    told = g.op("ReduceSum", g.op("Reshape", told, shape), g.axes(2), keepdims=0)
    if list(heads) == list(range(count)):
        return told
    # Heads without neighbour input use a row of zeros.
    zero = g.weight("zero", np.array(0, np.float32))
    nothing = g.op("Gather", told, g.weight("first", np.zeros(1, _INT)), axis=1)
    told = g.op("Concat", told, g.op("Mul", nothing, zero), axis=1)
    picked = np.full(count, numbers, _INT)
    picked[list(heads)] = np.arange(numbers)
    return g.op("Gather", told, g.weight("picked", picked), axis=1)
