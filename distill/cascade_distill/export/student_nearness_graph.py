"""Neighbour biases of the student's numbers as graph nodes; see `StudentNearness`.

Everything that can be looked up before the first draw is looked up once, for all numbers together:
each node costs a row time, whatever it computes. A neighbour is identified by its pair of tokens
(coarse token * fine tokens + fine token), which indexes the tables of codes and values.

The model's metadata hold, under NEARNESS as JSON, what a program needs to run the student directly
from its weights: the numbers, and the names of their tables (see the server's walk_nearness.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from cascade_tables.codecs.columns.binned_codec import COARSE, FINE
from numpy.typing import NDArray
from torch import Tensor

from cascade_distill.export.graph import FLOAT, INT64, Graph
from cascade_distill.models.nearness import BESIDE, PLACES
from cascade_distill.models.neighbours import CODES, MASS_APART, UNKNOWN, Target
from cascade_distill.models.student_nearness import (
    EQUAL_AT,
    LEAST,
    MIXTURE,
    NO_PLACE,
    StudentNearness,
    places_of_tokens,
    steps,
)

NEARNESS = "cascade.nearness"


class NearnessNodes:
    """Builder of the nodes for each slot's bias.

    Args:
        g: the outermost graph.
        near: the trained biases.

    Attributes:
        neighbours: coarse slots of the numbers that are neighbours of others.
        coarse_slots: coarse slots of all numbers that have neighbours or are neighbours.
        told: slots of the numbers that have neighbours.
        coarse_told: the coarse slots among `told`.
    """

    def __init__(self, g: Graph, near: StudentNearness) -> None:
        self._near = near
        neighbours = {each.slot for target in near.targets for each in target.numbers}
        neighbours |= {
            slot for target in near.targets for each in target.sums for slot in each.slots
        }
        self.neighbours = tuple(sorted(neighbours))
        self.coarse_slots = frozenset((*neighbours, *near.coarse))
        self.told, self.coarse_told = near.told, frozenset(near.coarse)
        self._place = {slot: index for index, slot in enumerate(self.neighbours)}
        self._steps = g.weight("near_steps", steps())
        # Place tables by name, in which "already known" and marks have zero bias.
        self._places: dict[int, str] = {}
        self._numbers = [
            self._weights(g, index, target) for index, target in enumerate(near.targets)
        ]
        self._look_up(g)

    def metadata(self) -> dict[str, str]:
        """Return the model metadata."""
        tables = {"steps": self._steps, "codes": self._codes, "values": self._values}
        return {NEARNESS: json.dumps(tables | {"numbers": self._numbers})}

    def _weights(self, g: Graph, index: int, target: Target) -> dict[str, Any]:
        """Store a number's trained weights, and describe its neighbours."""
        near = self._near
        numbers, sums = len(target.numbers), len(target.sums)
        # Use the neighbours that this number has, without padding.
        own = [*range(numbers), *range(near.numbers, near.numbers + sums)]
        gate = _array(near.gate[index]).reshape(-1, near.shape[1], MIXTURE)[:, own]
        gate_bias = _array(near.gate_bias[index]).reshape(-1, MIXTURE)[own]
        kernel = np.pad(_array(near.kernel[index])[own], ((0, 0), (0, 0), (0, 1)))
        place = _array(near.place[index])[own].reshape(-1, FINE)
        inside = target.edges[:-1].reshape(COARSE, FINE)[:, 1:]
        kept = g.weight("near_place", place)
        pads = np.array([0, 0, 0, near.fine_sizes[index] + 1 - FINE], np.int64)
        self._places[target.slot] = g.folded("Pad", kept, g.weight("pads", pads))
        return {
            "slot": target.slot,
            "bins_from": target.bins_from,
            "masses": target.masses,
            "numbers": [neighbour.slot for neighbour in target.numbers],
            "sums": [[*each.slots] for each in target.sums],
            "signs": [[*each.signs] for each in target.sums],
            "bins": g.weight("near_bins", target.edges[FINE:-1:FINE]) if sums else "",
            "inside": g.weight("near_inside", inside) if sums else "",
            "gate": g.weight("near_gate", gate.reshape(len(gate), -1)),
            "gate_bias": g.weight("near_gate_bias", gate_bias.reshape(-1)),
            "kernel": g.weight("near_kernel", kernel),
            "fine_gate": g.weight("near_fine_gate", _array(near.fine_gate[index])[:, own]),
            "fine_gate_bias": g.weight(
                "near_fine_gate_bias", _array(near.fine_gate_bias[index])[own]
            ),
            "place": kept,
        }

    def _look_up(self, g: Graph) -> None:
        """Look up the given codes and values of numbers that are drawn later."""
        near, slots = self._near, np.array(self.neighbours)
        sizes = np.array([near.layout_sizes[slot + 1] for slot in self.neighbours])
        # Tokens that are not given may have any value.
        zero = g.weight("no_token", np.array(0, np.int64))
        tokens = g.op("Where", "observed", g.op("Cast", "tokens", to=INT64), zero)
        coarse = g.op("Gather", tokens, g.weight("slots", slots), axis=1)
        fine = g.op("Gather", tokens, g.weight("slots", slots + 1), axis=1)
        self._sizes = sizes
        self._pairs = g.op("Add", g.op("Mul", coarse, g.weight("sizes", sizes)), fine)
        self._observed = g.op("Gather", "observed", g.weight("slots", slots), axis=1)
        # One table of all codes, and one of the values of all numbers that are part of a sum.
        codes, starts, begin = [], {}, 0
        for target in near.targets:
            for neighbour in target.numbers:
                starts[target.slot, neighbour.slot] = begin
                codes.append(_stored(neighbour.codes))
                begin += len(neighbour.codes)
        values: dict[int, NDArray[np.float32]] = {}
        for target in near.targets:
            for each in target.sums:
                values |= zip(each.slots, each.values, strict=True)
        ends = np.cumsum([0, *(len(each) for each in values.values())])
        self._value_start = dict(zip(values, ends.tolist(), strict=False))
        self._code_start = starts
        for number in self._numbers:
            number["codes_begin"] = [starts[number["slot"], slot] for slot in number["numbers"]]
            number["values_begin"] = [[self._value_start[s] for s in two] for two in number["sums"]]
        most = max(target.bins_from - target.masses for target in near.targets)
        masses = MASS_APART * np.arange(1, most + 1)
        # Indexed by the stored codes: a code, a point mass after them, or -1, the last.
        self._code_of = g.weight(
            "near_code_of", np.concatenate([np.arange(CODES), masses, [UNKNOWN]])
        )
        self._unknown = g.weight("unknown", np.array(UNKNOWN, np.int64))
        self._codes = self._values = ""
        if codes:
            self._codes = g.blocks("near_codes", np.concatenate(codes))
        later = [
            (number["slot"], slot)
            for number in self._numbers
            for slot in number["numbers"]
            if slot > number["slot"]
        ]
        self._later = {key: index for index, key in enumerate(later)}
        if later:
            index = g.weight("later", np.array([self._place[slot] for _, slot in later], np.int64))
            said = self._said(g, g.op("Gather", self._pairs, index, axis=1), later)
            known = g.op("Gather", self._observed, index, axis=1)
            self._later_codes = g.op("Where", known, said, self._unknown)
        if values:
            self._values = g.blocks("near_values", np.concatenate([*values.values()]))
            index = g.weight("parts", np.array([self._place[slot] for slot in values], np.int64))
            begin_of = g.weight("starts", ends[:-1].astype(np.int64))
            pairs = g.op("Add", g.op("Gather", self._pairs, index, axis=1), begin_of)
            value = g.op("Gather", self._values, pairs, axis=0)
            nothing = g.weight("nothing_known", np.array(np.nan, np.float32))
            known = g.op("Gather", self._observed, index, axis=1)
            self._given_values = g.op("Where", known, value, nothing)
            self._given_place = {slot: place for place, slot in enumerate(values)}

    def _said(self, g: Graph, pairs: str, keys: Sequence[tuple[int, int]]) -> str:
        """Look up the codes of pairs [n, m] for these (number, neighbour) keys: int64."""
        begin = g.weight("starts", np.array([self._code_start[key] for key in keys], np.int64))
        stored = g.op("Gather", self._codes, g.op("Add", pairs, begin), axis=0)
        return g.op("Gather", self._code_of, g.op("Cast", stored, to=INT64), axis=0)

    def given_pair(self, g: Graph, slot: int) -> str:
        """Build the token pair of a number as it was given: int64 [n, 1]."""
        index = g.weight("place", np.array([self._place[slot]], np.int64))
        return g.op("Gather", self._pairs, index, axis=1)

    def known_pair(self, g: Graph, slot: int, coarse: str, fine: str) -> str:
        """Build the token pair of a drawn number, or of the given one if it was given: int64 [n,
        1]; tokens [n].
        """
        index = self._place[slot]
        size = g.weight("size", np.array(self._sizes[index], np.int64))
        drawn = g.op("Add", g.op("Mul", coarse, size), fine)
        place = g.weight("place", np.array([index], np.int64))
        observed = g.op("Gather", self._observed, place, axis=1)
        drawn = g.op("Unsqueeze", drawn, g.axes(1))
        return g.op("Where", observed, self.given_pair(g, slot), drawn)

    def seen(self, g: Graph, slot: int, pairs: dict[int, str]) -> str:
        """Build the codes of a number's neighbours: int64 [n, K, 1], `UNKNOWN` if not known.

        Args:
            g: the branch that draws the number.
            slot: its coarse slot.
            pairs: of the numbers before it.
        """
        number = self._numbers[self._near.coarse[slot]]
        earlier = [each for each in number["numbers"] if each < slot]
        later = [each for each in number["numbers"] if each > slot]
        parts, order = [], [*earlier, *later]
        if earlier:
            joined = _joined(g, [pairs[each] for each in earlier])
            parts.append(self._said(g, joined, [(slot, each) for each in earlier]))
        if later:
            index = g.weight(
                "later", np.array([self._later[slot, each] for each in later], np.int64)
            )
            parts.append(g.op("Gather", self._later_codes, index, axis=1))
        if number["sums"]:
            parts.append(self._codes_of_sums(g, number, pairs))
        codes = _joined(g, parts)
        wanted = [order.index(each) for each in number["numbers"]]
        if wanted != sorted(wanted):
            wanted += range(len(wanted), len(wanted) + len(number["sums"]))
            codes = g.op("Gather", codes, g.weight("order", np.array(wanted, np.int64)), axis=1)
        return g.op("Unsqueeze", codes, g.axes(2))

    def _codes_of_sums(self, g: Graph, number: dict[str, Any], pairs: dict[int, str]) -> str:
        """Build the code of each sum or difference of two numbers: int64 [n, sums]."""
        used = list(dict.fromkeys(slot for two in number["sums"] for slot in two))
        earlier = [slot for slot in used if slot < number["slot"]]
        later = [slot for slot in used if slot > number["slot"]]
        parts = []
        if earlier:
            begin = np.array([self._value_start[slot] for slot in earlier], np.int64)
            joined = _joined(g, [pairs[slot] for slot in earlier])
            joined = g.op("Add", joined, g.weight("starts", begin))
            parts.append(g.op("Gather", self._values, joined, axis=0))
        if later:
            index = np.array([self._given_place[slot] for slot in later], np.int64)
            parts.append(g.op("Gather", self._given_values, g.weight("later", index), axis=1))
        place = {slot: index for index, slot in enumerate([*earlier, *later])}
        index = np.array([[place[slot] for slot in two] for two in number["sums"]], np.int64)
        both = g.op("Gather", _joined(g, parts), g.weight("parts", index), axis=1)
        signs = g.weight("signs", np.array(number["signs"], np.float32))
        value = g.op("ReduceSum", g.op("Mul", both, signs), g.axes(2), keepdims=1)
        # Count the edges that the value is not below: first of the bins, then of the places inside
        # its bin.
        bins = _count(g, g.op("GreaterOrEqual", value, number["bins"]))
        inside = g.op("Gather", number["inside"], bins, axis=0)
        places = _count(g, g.op("GreaterOrEqual", value, inside))
        code = g.op("Mul", bins, g.weight("fine", np.array(FINE, np.int64)))
        unknown = g.op("Squeeze", g.op("IsNaN", value), g.axes(2))
        return g.op("Where", unknown, self._unknown, g.op("Add", code, places))

    def coarse(self, g: Graph, slot: int, hidden: str, seen: str) -> str:
        """Build the bias of a number's coarse logits, including "already known": [n, size + 1].

        Args:
            g: the branch that draws it.
            slot: its coarse slot.
            hidden: of the slot's head [n, head].
            seen: as `seen` returns it.
        """
        index = self._near.coarse[slot]
        number, size = self._numbers[index], self._near.sizes[index]
        most = len(number["numbers"]) + len(number["sums"])
        gates = g.op("Gemm", hidden, number["gate"], number["gate_bias"])
        shape = g.weight("shape", np.array([-1, most, 1, MIXTURE], np.int64))
        mixed = g.op("MatMul", g.op("Reshape", gates, shape), number["kernel"])
        mixed = g.op("Squeeze", mixed, g.axes(2))
        # "Already known" is near to nothing.
        place = np.append(places_of_tokens(self._near.targets[index], size), NO_PLACE)
        from_first = g.weight("near_place_of_token", place - (LEAST - 1))
        away = g.op("Sub", from_first, seen)
        ends = (0, EQUAL_AT + 1 - (LEAST - 1))
        away = g.op("Clip", away, *(g.weight("bound", np.array(end, np.int64)) for end in ends))
        found = g.op("GatherElements", mixed, g.op("Gather", self._steps, away, axis=0), axis=2)
        return g.op("ReduceSum", found, g.axes(1), keepdims=0)

    def fine(self, g: Graph, slot: int, hidden: str, seen: str, coarse: str) -> str:
        """Build the bias of the logits of a number's places, including "already known": [n, size +
        1].

        Args:
            g: the branch that draws it.
            slot: its coarse slot.
            hidden: of its fine slot's head [n, head].
            seen: as `seen` returns it.
            coarse: its coarse tokens, int64 [n].
        """
        number = self._numbers[self._near.coarse[slot]]
        most = len(number["numbers"]) + len(number["sums"])
        gates = g.op("Gemm", hidden, number["fine_gate"], number["fine_gate_bias"])
        # FINE * (bin - bins_from) - (FINE * BESIDE + 1), the origin for the codes' places.
        bins = g.op("Mul", coarse, g.weight("fine", np.array(FINE, np.int64)))
        origin = FINE * (number["bins_from"] + BESIDE) + 1
        bins = g.op("Sub", bins, g.weight("origin", np.array(origin, np.int64)))
        shape = g.weight("shape", np.array([-1, 1, 1], np.int64))
        place = g.op("Sub", seen, g.op("Reshape", bins, shape))
        ends = (0, PLACES - 1)
        place = g.op("Clip", place, *(g.weight("bound", np.array(end, np.int64)) for end in ends))
        begin = g.weight("begin", PLACES * np.arange(most, dtype=np.int64)[None, :, None])
        told = g.op("Gather", self._places[slot], g.op("Add", place, begin), axis=0)
        told = g.op("Squeeze", told, g.axes(2))
        bias = g.op("MatMul", g.op("Unsqueeze", gates, g.axes(1)), told)
        return g.op("Squeeze", bias, g.axes(1))


def _joined(g: Graph, parts: Sequence[str]) -> str:
    """Concatenate arrays [n, m] on their last axis."""
    return parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=1)


def _count(g: Graph, true: str) -> str:
    """Count the true elements on the last axis of [n, m, c]: int64 [n, m]."""
    return g.op(
        "Cast", g.op("ReduceSum", g.op("Cast", true, to=FLOAT), g.axes(2), keepdims=0), to=INT64
    )


def _stored(codes: NDArray[np.int64]) -> NDArray[np.int16]:
    """Encode codes in two bytes: point masses after the codes of bins, and -1 if not known."""
    masses = CODES - 1 + codes // MASS_APART
    return np.where(codes == UNKNOWN, -1, np.where(codes < CODES, codes, masses)).astype(np.int16)


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.detach().float().cpu().numpy())
