"""What a student's graph stores about numbers and their neighbours, for the compiled walk.

The exporter (distill/cascade_distill/export/student_nearness_graph.py) writes it into the model's
metadata; its tables are weights of the graph. student_near.h says what the walk does with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# As in the exporter and in student_near.h.
NEARNESS = "cascade.nearness"
FINE, BINS, MIXTURE, PLACES = 16, 64, 4, 50
CODES = FINE * BINS
# Size of a kernel, including "none" at its end; distances from -CODES - 1 to 2 CODES + 1.
KERNEL, DISTANCES = 60, 3 * CODES + 3

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class NearNumber:
    """A number with K neighbours: first other numbers, then sums or differences of two numbers.

    Attributes:
        slot: the number's coarse slot.
        bins_from, masses: the first coarse token that is a bin, and the first that is a point mass.
        numbers: how many of the neighbours are single numbers.
        neighbours: coarse slots of those numbers, then of both parts of each sum.
        begins: offsets of the neighbours' tables.
        signs: signs of the parts of sums.
        between, inside: float32 [BINS - 1] and [BINS, FINE - 1], edges between bins and between the
            places inside each bin; empty for a number without sums.
        gate, gate_bias: [H, K * MIXTURE] and [K * MIXTURE].
        kernel: [K, MIXTURE, KERNEL].
        fine_gate, fine_gate_bias: [H, K] and [K].
        place: [K, PLACES, FINE].
    """

    slot: int
    bins_from: int
    masses: int
    numbers: int
    neighbours: list[int]
    begins: list[int]
    signs: list[int]
    between: Floats
    inside: Floats
    gate: Floats
    gate_bias: Floats
    kernel: Floats
    fine_gate: Floats
    fine_gate_bias: Floats
    place: Floats


@dataclass(frozen=True)
class WalkNearness:
    """All numbers that have neighbours.

    Attributes:
        numbers: those numbers.
        codes: int16, tables by pairs of tokens; an entry is a code, CODES and more for a point
            mass, or -1.
        values: float32, tables by pairs of tokens too.
        steps: uint8 [DISTANCES], which of a kernel's weights each distance uses.
    """

    numbers: list[NearNumber]
    codes: NDArray[np.int16]
    values: Floats
    steps: NDArray[np.uint8]


def read_nearness(
    said: Mapping[str, str], stored: Mapping[str, NDArray[Any]], sizes: tuple[int, ...], head: int
) -> WalkNearness | None:
    """Read what a graph stores about neighbours; None if its numbers have none.

    Args:
        said: the graph's metadata.
        stored: the graph's weights.
        sizes: sizes of the layout's T slots.
        head: hidden units of a slot's head, H.

    Raises:
        KeyError, TypeError, ValueError: the graph stores something that the walk does not support.
    """
    if NEARNESS not in said:
        return None
    described = json.loads(said[NEARNESS])
    codes = _table(stored, described["codes"], np.int16)
    values = _table(stored, described["values"], np.float32)
    steps = _table(stored, described["steps"], np.int64)
    if steps.shape != (DISTANCES,) or steps.min() < 0 or steps.max() >= KERNEL:
        raise ValueError("distances have other steps than kernels have")
    if codes.ndim != 1 or values.ndim != 1:
        raise ValueError("tables of neighbours have rows")
    numbers = [_number(each, stored, sizes, head) for each in described["numbers"]]
    for number in numbers:
        most = CODES + number.bins_from - number.masses
        for index, (slot, begin) in enumerate(zip(number.neighbours, number.begins, strict=True)):
            table, pairs = (
                codes if index < number.numbers else values,
                sizes[slot] * sizes[slot + 1],
            )
            if not 0 <= begin <= len(table) - pairs:
                raise ValueError("a table of neighbours ends before its tokens do")
            own = table[begin : begin + pairs]
            if index < number.numbers and not -1 <= own.min() <= own.max() < most:
                raise ValueError("a neighbour has codes that its number has not")
    return WalkNearness(numbers, codes, values, steps.astype(np.uint8))


def _number(
    said: Mapping[str, Any],
    stored: Mapping[str, NDArray[Any]],
    sizes: tuple[int, ...],
    head: int,
) -> NearNumber:
    slot, bins_from, first = (int(said[name]) for name in ("slot", "bins_from", "masses"))
    sums = len(said["sums"])
    parts, signs, value_begins = (
        _of_parts(said[name], sums) for name in ("sums", "signs", "values_begin")
    )
    neighbours = [int(each) for each in (*said["numbers"], *parts)]
    begins = [*(int(each) for each in said["codes_begin"]), *value_begins]
    count = len(said["numbers"]) + sums
    if not all(0 <= each < len(sizes) - 1 for each in (slot, *neighbours)):
        raise ValueError("a neighbour has no such slots")
    # Neither of a neighbour's slots is the number's own: those are not drawn yet when it is read.
    if any(abs(each - slot) < 2 for each in neighbours):
        raise ValueError("a number is its own neighbour")
    if not 0 <= first <= bins_from <= sizes[slot] - BINS or sizes[slot + 1] < FINE or count < 1:
        raise ValueError("a number that has neighbours has no such tokens")
    if len(begins) != len(neighbours) or {*signs} - {-1, 1}:
        raise ValueError("a neighbour has no table, or a sum another sign")
    bins = BINS if parts else 0
    between = _table(stored, said["bins"] if parts else "", np.float32).reshape(max(0, bins - 1))
    inside = _table(stored, said["inside"] if parts else "", np.float32).reshape(bins, FINE - 1)
    found = NearNumber(
        *(
            slot,
            bins_from,
            first,
            len(said["numbers"]),
            neighbours,
            begins,
            signs,
        ),
        between,
        inside,
        _table(stored, said["gate"], np.float32).reshape(head, count * MIXTURE),
        _table(stored, said["gate_bias"], np.float32).reshape(count * MIXTURE),
        _table(stored, said["kernel"], np.float32).reshape(count, MIXTURE, KERNEL),
        _table(stored, said["fine_gate"], np.float32).reshape(head, count),
        _table(stored, said["fine_gate_bias"], np.float32).reshape(count),
        _table(stored, said["place"], np.float32).reshape(count, PLACES, FINE),
    )
    every = [found.between, found.inside, found.gate, found.gate_bias, found.kernel]
    every += [found.fine_gate, found.fine_gate_bias, found.place]
    if not all(np.isfinite(each).all() for each in every):
        raise ValueError("some weights of neighbours are not finite")
    return found


def _of_parts(said: Any, sums: int) -> list[int]:
    """Return whole numbers for both parts of each sum, one after the other."""
    if len(said) != sums or any(len(two) != 2 for two in said):
        raise ValueError("a sum of neighbours has not two parts")
    return [int(each) for two in said for each in two]


def _table(stored: Mapping[str, NDArray[Any]], name: str, kind: Any) -> NDArray[Any]:
    """Return a weight of the graph by its name; "" for nothing.

    The graph may store the weight in fewer bytes.
    """
    if not name:
        return np.zeros(0, kind)
    names = [each for each in (f"{name}_half", f"{name}_short") if each in stored]
    return np.asarray(stored[names[0] if names else name]).astype(kind)
