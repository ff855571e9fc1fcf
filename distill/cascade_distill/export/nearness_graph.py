"""What numbers are told of their neighbours, as nodes of the teacher's graph; see `Nearness`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from cascade_tables.codecs.binned_codec import FINE
from numpy.typing import NDArray
from torch.nn import functional as F

from cascade_distill.export.graph import INT64, Graph
from cascade_distill.models.nearness import (
    BESIDE,
    EQUAL,
    KERNEL,
    MASSES_FROM,
    PLACES,
    WINDOW,
    Nearness,
)
from cascade_distill.models.neighbours import CODES, MASS_APART, UNKNOWN

_INT = np.int64


def seen_codes(g: Graph, near: Nearness, tokens: str) -> str:
    """Codes of the neighbours: int64 [n, S * K], `UNKNOWN` where they are not known."""
    slots = near.slot.flatten().numpy()
    coarse = g.op("Gather", tokens, g.weight("slots", slots), axis=1)
    fine = g.op("Gather", tokens, g.weight("slots", slots + 1), axis=1)
    pair = g.op("Mul", coarse, g.weight("scale", near.scale.flatten().numpy()[None]))
    start = g.weight("starts", near.start.flatten().numpy()[None])
    pair = g.op("Add", g.op("Add", pair, fine), start)
    # As int32, half as large in the file.
    codes = g.weight("codes", near.codes.numpy().astype(np.int32))
    codes = g.op("Cast", g.op("Gather", codes, pair, axis=0), to=INT64)
    known = g.op("Gather", "observed", g.weight("slots", slots), axis=1)
    return g.op("Where", known, codes, g.weight("unknown", np.array(UNKNOWN, _INT)))


def coarse_bias(
    g: Graph, near: Nearness, stream: str, seen: str, at: NDArray[np.int64], tokens: int
) -> str:
    """What is added to the logits of all value slots: [n, tokens].

    Args:
        g: the teacher's graph.
        near: of the teacher.
        stream: [n, width].
        seen: int64 [n, S * K].
        at: of the numbers' coarse tokens, all below each other, which of the logits are theirs.
        tokens: how many logits there are.
    """
    count, most, mixture = near.shape
    pairs = count * most
    weight, bias = (each.detach().numpy() for each in (near.gate.weight, near.gate.bias))
    gates = g.op("Gemm", stream, g.weight("w", weight.T), g.weight("b", bias))
    shape = g.weight("shape", np.array([-1, pairs, mixture, 1], _INT))
    gates = g.op("Reshape", gates, shape)
    # A row a pair and place in the bin: of each kernel, the weights around, and that of "equal".
    kernel = near.kernel.detach().float()
    around = F.pad(kernel[..., :EQUAL], (0, KERNEL + 1 - EQUAL))[..., near.around]
    equal = kernel[..., EQUAL, None, None].expand(count, most, mixture, FINE, 1)
    every = torch.cat([around, equal], dim=4).permute(0, 1, 3, 2, 4)
    table = every.reshape(pairs * FINE, mixture, WINDOW + 1).numpy()
    size, whole = g.weight("fine", np.array(FINE, _INT)), g.weight("zero", np.array(0, _INT))
    row = g.op("Mod", seen, size)
    row = g.op("Add", row, g.weight("starts", FINE * np.arange(pairs, dtype=_INT)[None]))
    weights = g.op("Gather", g.weight("around", table), row, axis=0)
    weights = g.op("ReduceSum", g.op("Mul", gates, weights), g.axes(2), keepdims=0)
    # Where each of them is laid.
    nowhere = near.room - WINDOW
    limit = g.weight("codes", np.array(CODES, _INT))
    in_a_bin = g.op("And", g.op("GreaterOrEqual", seen, whole), g.op("Less", seen, limit))
    outside = g.weight("nowhere", np.array(nowhere, _INT))
    begin = g.op("Where", in_a_bin, g.op("Div", seen, size), outside)
    is_mass = g.op("GreaterOrEqual", seen, g.weight("apart", np.array(MASS_APART, _INT)))
    mass = g.op("Div", seen, g.weight("apart", np.array(MASS_APART, _INT)))
    mass = g.op("Add", mass, g.weight("masses", np.array(MASSES_FROM - 1, _INT)))
    place = g.op("Where", is_mass, mass, outside)
    begin = g.op("Unsqueeze", begin, g.axes(2))
    index = g.op("Add", begin, g.weight("window", np.arange(WINDOW, dtype=_INT)[None, None]))
    index = g.op("Concat", index, g.op("Unsqueeze", place, g.axes(2)), axis=2)
    # Each number has a room of its own in one row, so that one node lays them all.
    rooms = near.room * (np.arange(pairs, dtype=_INT) // most)
    index = g.op("Add", index, g.weight("rooms", rooms[None, :, None]))
    flat = g.weight("shape", np.array([-1, pairs * (WINDOW + 1)], _INT))
    index, weights = g.op("Reshape", index, flat), g.op("Reshape", weights, flat)
    empty = g.op("Gather", weights, g.weight("first", np.zeros(count * near.room, _INT)), axis=1)
    empty = g.op("Mul", empty, g.weight("zero", np.array(0, np.float32)))
    laid = g.op("ScatterElements", empty, index, weights, axis=1, reduction="add")
    sizes = near.sizes
    own = near.columns.numpy() + near.room * np.repeat(np.arange(count), sizes)
    picked = np.full(tokens, near.empty)
    picked[at] = own
    return g.op("Gather", laid, g.weight("picked", picked), axis=1)


def fine_told(
    g: Graph, near: Nearness, seen: str, chosen: str, heads: Sequence[int], count: int
) -> str:
    """What heads of places inside bins are told: [n, count, fine].

    Args:
        g: the teacher's graph.
        near: of the teacher.
        seen: int64 [n, S * K].
        chosen: int64 [n, count], the coarse tokens of all numbers that have such a head.
        heads: which of them are told anything.
        count: how many heads there are.
    """
    numbers, most, _ = near.shape
    table = near.place.detach().float().flatten(0, 2).numpy()
    head = np.array(heads, _INT).repeat(most)
    coarse = g.op("Gather", chosen, g.weight("heads", head), axis=1)
    begin = g.op("Sub", coarse, g.weight("bins", near.bins_from.numpy().repeat(most)[None]))
    begin = g.op("Mul", begin, g.weight("fine", np.array(FINE, _INT)))
    index = g.op("Sub", seen, begin)
    index = g.op("Add", index, g.weight("beside", np.array(FINE * BESIDE + 1, _INT)))
    low, high = (g.weight("clip", np.array(v, _INT)) for v in (0, PLACES - 1))
    index = g.op("Clip", index, low, high)
    pairs = PLACES * np.arange(numbers * most, dtype=_INT)[None]
    told = g.op(
        "Gather", g.weight("places", table), g.op("Add", index, g.weight("pairs", pairs)), axis=0
    )
    shape = g.weight("shape", np.array([-1, numbers, most, table.shape[1]], _INT))
    told = g.op("ReduceSum", g.op("Reshape", told, shape), g.axes(2), keepdims=0)
    if list(heads) == list(range(count)):
        return told
    # Heads that are told nothing take a row of zeros.
    zero = g.weight("zero", np.array(0, np.float32))
    nothing = g.op("Gather", told, g.weight("first", np.zeros(1, _INT)), axis=1)
    told = g.op("Concat", told, g.op("Mul", nothing, zero), axis=1)
    picked = np.full(count, numbers, _INT)
    picked[list(heads)] = np.arange(numbers)
    return g.op("Gather", told, g.weight("picked", picked), axis=1)
