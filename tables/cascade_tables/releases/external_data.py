"""Check whether an ONNX model keeps its tensors in files beside it.

ONNX lets a tensor name a file ("external data") that is read when a session is created. A release
does not hash such a file, and its path may lead anywhere, so no model of a release may name one.
This module parses a model far enough to find every tensor of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cascade_tables.releases.wire_format import Field, Malformed, fields

# For each message, its fields that lead to tensors, with the type of each.
CHILDREN: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
}
TENSOR_NAME, TENSOR_EXTERNAL_DATA, TENSOR_DATA_LOCATION = 8, 13, 14
ENTRY_KEY, ENTRY_VALUE = 1, 2
EXTERNAL = 1
# Most nested graphs; protobuf's own nesting limit.
DEPTH = 100


class External(NamedTuple):
    """A tensor whose values are elsewhere.

    Attributes:
        tensor: its name; empty if it has none.
        location: the file that it names; empty if it names none.
    """

    tensor: str
    location: str


def external_data(model: bytes) -> External | None:
    """Return the first tensor of an ONNX model whose values are in another file; None: there is
    none.

    Raises:
        Malformed: it is not ONNX; another reader might find a tensor that this one missed.
    """
    waiting = [("Model", 0, len(model), 0)]
    while waiting:
        message, begin, end, depth = waiting.pop()
        if depth > DEPTH:
            raise Malformed(f"its graphs are nested more than {DEPTH} deep")
        if message == "Tensor":
            found = _external(model, begin, end)
            if found is not None:
                return found
            continue
        children = CHILDREN[message]
        for field in fields(model, begin, end):
            child = children.get(field.number)
            if child is not None and field.end > field.begin:
                waiting.append((child, field.begin, field.end, depth + 1))
    return None


def _external(model: bytes, begin: int, end: int) -> External | None:
    name, location, is_external = "", "", False
    for field in fields(model, begin, end):
        if field.number == TENSOR_NAME:
            name = _text(model, field)
        elif field.number == TENSOR_DATA_LOCATION:
            is_external |= field.value == EXTERNAL
        elif field.number == TENSOR_EXTERNAL_DATA:
            is_external = True
            entry = {each.number: each for each in fields(model, field.begin, field.end)}
            if ENTRY_KEY in entry and _text(model, entry[ENTRY_KEY]) == "location":
                location = _text(model, entry[ENTRY_VALUE]) if ENTRY_VALUE in entry else ""
    return External(name, location) if is_external else None


def _text(data: bytes, field: Field) -> str:
    return data[field.begin : field.end].decode("utf-8", "backslashreplace")
