"""Weights of a release's ONNX model by name, without the `onnx` package.

Used to run a network without ONNX Runtime: the student's compiled walk.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.releases.wire_format import Field, Malformed, fields

# Field numbers, and the element types of weights, from
# https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
MODEL_GRAPH, MODEL_METADATA, GRAPH_INITIALIZER = 7, 14, 5
METADATA_KEY, METADATA_VALUE = 1, 2
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW_DATA = 1, 2, 8, 9
# Most elements along an axis, and most axes, of a weight; models are limited to 2 GiB.
MOST_ELEMENTS, MOST_AXES = 2**31, 8
# Most elements of a weight that the model stores in parts.
MOST_MADE = 2**26
INT64 = np.dtype("<i8")
TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    5: np.dtype("<i2"),
    6: np.dtype("<i4"),
    7: INT64,
    10: np.dtype("<f2"),
}
# Name suffixes of such a weight's parts, from the exporter
# (distill/cascade_distill/export/graph.py), and of one in which blocks repeat.
VALUES, AT, SHAPE = "_values", "_at", "_shape"
BLOCKS, WHICH = "_blocks", "_which"


def model_weights(model: bytes) -> dict[str, NDArray[Any]]:
    """Return the initialisers of a model's outermost graph, with compact ones expanded.

    A compact one is stored as its nonzero elements, NAME_values at NAME_at, or as repeated blocks,
    NAME_blocks in the order of NAME_which.

    Args:
        model: an ONNX model that holds all its tensors in `raw_data`; others are left out.

    Returns:
        By name; views of the model's bytes, not to be written to.

    Raises:
        Malformed: it is not ONNX, or a tensor's bytes do not match its shape, or elements lie
            beyond their weight.
    """
    found: dict[str, NDArray[Any]] = {}
    for graph in fields(model, 0, len(model)):
        if graph.number != MODEL_GRAPH:
            continue
        for each in fields(model, graph.begin, graph.end):
            if each.number == GRAPH_INITIALIZER:
                name, values = _tensor(model, each)
                if values is not None:
                    found[name] = values
    # Elements that the model does not store, but that are built from those it stores.
    made = 0
    for part in [name for name in found if name.endswith(VALUES)]:
        name = part.removesuffix(VALUES)
        at, shape = found.get(name + AT), found.get(name + SHAPE)
        if at is not None and shape is not None:
            found[name] = _whole(name, found.pop(part), at, shape, MOST_MADE - made)
            made += found[name].size
    for part in [name for name in found if name.endswith(BLOCKS)]:
        name = part.removesuffix(BLOCKS)
        which = found.get(name + WHICH)
        if which is not None:
            found[name] = _repeated(name, found.pop(part), which, MOST_MADE - made)
            made += found[name].size
    return found


def metadata(model: bytes) -> dict[str, str]:
    """Return a model's metadata.

    Raises:
        Malformed: it is not ONNX.
    """
    said = {}
    for prop in fields(model, 0, len(model)):
        if prop.number == MODEL_METADATA:
            pair = {
                each.number: model[each.begin : each.end].decode("utf-8", "backslashreplace")
                for each in fields(model, prop.begin, prop.end)
            }
            said[pair.get(METADATA_KEY, "")] = pair.get(METADATA_VALUE, "")
    return said


def _whole(
    name: str, values: NDArray[np.floating], at: NDArray[Any], shape: NDArray[Any], most: int
) -> NDArray[np.floating]:
    """Build a weight of a shape, with at most `most` elements, that is zero except for
    some values.
    """
    sizes = shape.reshape(-1).tolist()
    fits = 0 < len(sizes) <= MOST_AXES and 0 < prod(sizes) <= most and min(sizes) > 0
    fits = fits and shape.dtype == at.dtype == INT64 and at.shape == (values.size, len(sizes))
    if not fits or (at < 0).any() or (at >= sizes).any():
        raise Malformed(f"{name!r} has values that do not lie in it")
    out = np.zeros(sizes, values.dtype)
    out[tuple(at.T)] = values.reshape(-1)
    return out


def _repeated(name: str, blocks: NDArray[Any], which: NDArray[Any], most: int) -> NDArray[Any]:
    """Build a table of blocks [count, size] in some order, with at most `most` elements."""
    fits = blocks.ndim == 2 and which.ndim == 1 and which.dtype.kind == "i"
    fits = fits and which.size * blocks.shape[1] <= most
    if not fits or (which < 0).any() or (which >= len(blocks)).any():
        raise Malformed(f"{name!r} is of blocks that it has not")
    return blocks[which].reshape(-1)


def _tensor(model: bytes, tensor: Field) -> tuple[str, NDArray[Any] | None]:
    name, shape, dtype, raw = "", [], None, None
    for field in fields(model, tensor.begin, tensor.end):
        if field.number == TENSOR_NAME:
            name = model[field.begin : field.end].decode("utf-8", "backslashreplace")
        elif field.number == TENSOR_DIMS:
            if field.value > MOST_ELEMENTS:
                raise Malformed(f"a tensor has {field.value} elements along one of its axes")
            shape.append(field.value)
        elif field.number == TENSOR_TYPE:
            dtype = TYPES.get(field.value)
        elif field.number == TENSOR_RAW_DATA:
            raw = field
    if dtype is None or raw is None:
        return name, None
    if prod(shape) * dtype.itemsize != raw.end - raw.begin:
        raise Malformed(
            f"tensor {name!r} of shape {shape} has {raw.end - raw.begin} bytes, "
            f"not {prod(shape) * dtype.itemsize}"
        )
    if prod(shape) == 0 or len(shape) > MOST_AXES:
        return name, None
    values = np.frombuffer(model, dtype, prod(shape), raw.begin)
    return name, values.reshape(shape)
