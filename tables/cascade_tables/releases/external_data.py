"""Whether an ONNX model keeps its tensors in files beside it.

ONNX lets a tensor name a file ("external data") that is read when a session is made. Such a file
is not among those whose hashes a release has, and its path may lead anywhere, so that no model of a
release may name one. This reads the protobuf wire format
(https://protobuf.dev/programming-guides/encoding) as far as it takes to find every tensor of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, without the `onnx` package, which is not
there where models are served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = range(6)

# By message, its fields that lead to tensors, with the message of each.
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
# Graphs inside graphs; as deep as protobuf itself reads messages.
DEPTH = 100


class Malformed(ValueError):
    """Bytes that are no message of protobuf."""


class External(NamedTuple):
    """A tensor whose values are elsewhere.

    Attributes:
        tensor: its name; empty where it has none.
        location: the file that it names; empty where it names none.
    """

    tensor: str
    location: str


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: which.
        value: of an integer; 0 for all others.
        begin, end: where the content of a field that has a length lies; equal for all others.
    """

    number: int
    value: int
    begin: int
    end: int


def external_data(model: bytes) -> External | None:
    """The first tensor of an ONNX model whose values are in another file; None: there is none.

    Raises:
        Malformed: it is not ONNX; whoever reads it otherwise might find a tensor that this missed.
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


def fields(data: bytes, begin: int, end: int) -> Iterator[Field]:
    """The fields of a message that lies in [begin, end) of some bytes; contents are not copied.

    Raises:
        Malformed: it ends inside a field, or has one that protobuf does not know.
    """
    at, groups = begin, 0
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire_type = tag >> 3, tag & 7
        value, start = 0, at
        if number == 0:
            raise Malformed("it has a field of number 0")
        if wire_type == VARINT:
            value, at = _varint(data, at, end)
            start = at
        elif wire_type == LENGTH:
            length, start = _varint(data, at, end)
            at = start + length
        elif wire_type in (FIXED64, FIXED32):
            at += 8 if wire_type == FIXED64 else 4
            start = at
        elif wire_type == START_GROUP:
            groups += 1
        elif wire_type == END_GROUP and groups:
            groups -= 1
        else:
            raise Malformed(f"it has a field of wire type {wire_type}")
        if at > end:
            raise Malformed("it ends inside a field")
        # ONNX has no groups: what is inside of one is not read as the message's own.
        if not groups:
            yield Field(number, value, start, at)
    if groups:
        raise Malformed("it ends inside a group")


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of 64 bits at most, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise Malformed("it ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise Malformed("it has a number of more than 64 bits")
