"""Reads a student's weights for the compiled walk from its ONNX graph.

A release contains the graph, and the release's hash covers it. The exporter
(distill/cascade_distill/export/student_graph.py) names each weight by its kind and numbers them in
the order of the slots. If a graph has other weights or other shapes, the walk does not support it,
and ONNX Runtime runs it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from cascade_tables.releases.weights import metadata, model_weights
from cascade_tables.releases.wire_format import Malformed
from numpy.typing import NDArray

from cascade_server.engines.native.walk_nearness import WalkNearness, read_nearness

Floats = NDArray[np.float32]

# Name, number, and whether the weight is stored in half precision and cast by the session.
NAMED = re.compile(
    r"(embedding|weight_in|bias_in|weight_out|bias_out|barred)_([0-9]{1,9})(?:_half)?"
)


class NotThisStudent(ValueError):
    """A graph that the walk cannot run; says why."""


@dataclass(frozen=True)
class WalkWeights:
    """The walk's weights: T slots of some sizes, state width D and width H of a slot's head.

    Attributes:
        embedding: [sum of the sizes, D].
        weight_in, bias_in: of each slot, [D, H] and [H]; the bias includes the start state's share.
        weight_out, bias_out: of each slot, [H, size] and [size].
        barred: by slot, [T, size]: what each missing slot adds to the logits; only slots that have
            marks.
        nearness: the numbers that have neighbours; None if there are none.
    """

    embedding: Floats
    weight_in: list[Floats]
    bias_in: list[Floats]
    weight_out: list[Floats]
    bias_out: list[Floats]
    barred: dict[int, Floats]
    nearness: WalkNearness | None = None


def read_walk_weights(model: bytes, sizes: tuple[int, ...]) -> WalkWeights:
    """Read the weights of a student's graph.

    Args:
        model: a release's student.
        sizes: sizes of its layout's slots.

    Raises:
        NotThisStudent: a weight is missing, or has a shape that does not fit the sizes.
    """
    try:
        stored, said = model_weights(model), metadata(model)
    except Malformed as exc:
        raise NotThisStudent(f"it cannot be read: {exc}") from exc
    named = [(match, values) for name, values in stored.items() if (match := NAMED.fullmatch(name))]
    named.sort(key=lambda pair: int(pair[0][2]))
    by_kind: dict[str, list[Floats]] = {}
    barred_of_group: dict[int, Floats] = {}
    try:
        for match, values in named:
            weight = values.astype(np.float32)
            if match[1] == "barred":
                barred_of_group[len(by_kind["bias_out"]) - 1] = weight
            else:
                by_kind.setdefault(match[1], []).append(weight)
        weights = _checked(by_kind, barred_of_group, sizes)
        head = weights.weight_in[0].shape[1]
        return replace(weights, nearness=read_nearness(said, stored, sizes, head))
    except (LookupError, ArithmeticError, TypeError, ValueError, RecursionError) as exc:
        raise NotThisStudent(f"its weights are not those of a student: {exc}") from exc


def _checked(
    by_kind: dict[str, list[Floats]], barred_of_group: dict[int, Floats], sizes: tuple[int, ...]
) -> WalkWeights:
    """Check the weights by kind, and return them in the order of the slots.

    Raises:
        KeyError, IndexError, ValueError: the weights do not fit the sizes.
    """
    slots = len(sizes)
    if min(sizes) < 1:
        raise ValueError("a slot has no tokens")
    ends = np.cumsum(sizes)
    weight_in, weight_out = by_kind["weight_in"], by_kind["weight_out"]
    bias_in = [bias.reshape(-1) for bias in by_kind["bias_in"]]
    width, head = weight_in[0].shape
    # The first embedding covers all slots, followed by a row of zeros; later ones repeat it.
    embedding = by_kind["embedding"][0]
    # In the graph, each slot has one more token, "already known", which the walk does not need.
    groups = by_kind["bias_out"]
    bias_of_all = np.concatenate([bias.reshape(-1) for bias in groups])
    padded_ends = np.cumsum([size + 1 for size in sizes])
    bias_out = [bias[:-1] for bias in np.split(bias_of_all, padded_ends[:-1])]
    found = {
        "embedding": [embedding.shape],
        "weight_in": [w.shape for w in weight_in],
        "bias_in": [b.shape for b in bias_in],
        "weight_out": [w.shape for w in weight_out],
        "bias_out": [b.shape for b in bias_out],
    }
    wanted = {
        "embedding": [(int(ends[-1]) + 1, width)],
        "weight_in": [(width, head)] * slots,
        "bias_in": [(head,)] * slots,
        "weight_out": [(head, size + 1) for size in sizes],
        "bias_out": [(size,) for size in sizes],
    }
    for kind, shapes in wanted.items():
        if found[kind] != shapes:
            raise ValueError(f"{kind} has other shapes than its slots ask for")
    barred: dict[int, Floats] = {}
    group_begin = np.cumsum([0, *(bias.size for bias in groups)])
    for group, of_group in barred_of_group.items():
        if of_group.shape != (slots, groups[group].size):
            raise ValueError("barred has other shapes than its slots ask for")
        for slot, end in enumerate(padded_ends.tolist()):
            begin = end - sizes[slot] - 1 - int(group_begin[group])
            if 0 <= begin < groups[group].size:
                part = of_group[:, begin : begin + sizes[slot]]
                if part.any():
                    barred[slot] = part
    every = (embedding, *weight_in, *bias_in, *weight_out, *bias_out, *barred.values())
    if not all(np.isfinite(each).all() for each in every):
        raise ValueError("some are not finite")
    return WalkWeights(
        embedding[:-1],
        weight_in,
        bias_in,
        [weight[:, :-1] for weight in weight_out],
        bias_out,
        barred,
    )
