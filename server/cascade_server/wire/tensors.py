"""Reads tensors from a request's fields or raw bytes, and writes them back."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from cascade_proto import inference_pb2 as pb
from cascade_tables.errors import shown
from numpy.typing import NDArray

from cascade_server.errors import BadRequest

BYTES = "BYTES"
DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind).newbyteorder("<")
    for name, kind in {
        "BOOL": np.bool_,
        "INT8": np.int8,
        "INT16": np.int16,
        "INT32": np.int32,
        "INT64": np.int64,
        "UINT8": np.uint8,
        "UINT16": np.uint16,
        "UINT32": np.uint32,
        "UINT64": np.uint64,
        "FP32": np.float32,
        "FP64": np.float64,
    }.items()
}
# The field of `InferTensorContents` that holds a datatype's elements.
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
LENGTH = struct.Struct("<I")

Values: TypeAlias = NDArray[Any] | list[bytes]


class Tensor(NamedTuple):
    """One tensor.

    Attributes:
        name, datatype: as in the protocol.
        shape: the shape of the tensor.
        values: flat, row-major: an array, or a list of elements for BYTES.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Values


def read_inputs(request: pb.ModelInferRequest) -> dict[str, Tensor]:
    """Read a request's inputs, by name.

    Raises:
        BadRequest: names the input and the error.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise BadRequest(
            f"raw_input_contents has {len(raw)} entries for {len(request.inputs)} inputs; it has "
            "one for each input, or none"
        )
    out: dict[str, Tensor] = {}
    for place, each in enumerate(request.inputs):
        name = each.name
        if name in out:
            raise BadRequest(f"input {shown(name)} is listed twice")
        if each.parameters:
            listed = ", ".join(sorted(each.parameters))
            raise BadRequest(
                f"input {shown(name)} has parameters that are not served: {listed}; shared memory, "
                "which they may be of, is not either"
            )
        if each.datatype not in CONTENTS:
            allowed = ", ".join(CONTENTS)
            raise BadRequest(
                f"input {shown(name)} has datatype {each.datatype!r}; allowed: {allowed}"
            )
        if raw and each.HasField("contents"):
            raise BadRequest(f"input {shown(name)} has contents beside raw_input_contents")
        if any(length < 0 for length in each.shape):
            raise BadRequest(
                f"input {shown(name)} has shape {list(each.shape)}; no length is negative"
            )
        size = math.prod(each.shape)
        values = (
            _of_raw(name, each.datatype, size, raw[place])
            if raw
            else _of_contents(name, each.datatype, size, each.contents)
        )
        out[name] = Tensor(name, each.datatype, tuple(each.shape), values)
    return out


def _of_raw(name: str, datatype: str, size: int, raw: bytes) -> Values:
    if datatype == BYTES:
        return _elements(name, size, raw)
    dtype = DTYPES[datatype]
    if len(raw) != size * dtype.itemsize:
        raise BadRequest(
            f"input {shown(name)} has {len(raw):,} raw bytes; "
            f"its shape and datatype {datatype} take "
            f"{size * dtype.itemsize:,}"
        )
    values: NDArray[Any] = np.frombuffer(raw, dtype)
    if datatype == "BOOL" and values.view(np.uint8).max(initial=0) > 1:
        raise BadRequest(f"input {shown(name)} has a byte that is neither 0 nor 1")
    return values


def _elements(name: str, size: int, raw: bytes) -> list[bytes]:
    out: list[bytes] = []
    start = 0
    while start < len(raw):
        if start + LENGTH.size > len(raw):
            break
        (length,) = LENGTH.unpack_from(raw, start)
        start += LENGTH.size
        if start + length > len(raw):
            break
        out.append(raw[start : start + length])
        start += length
    else:
        if len(out) == size:
            return out
        raise BadRequest(f"input {shown(name)} has {len(out):,} elements; its shape takes {size:,}")
    raise BadRequest(
        f"input {shown(name)} ends inside an element; "
        f"each is its length in four little-endian bytes, "
        "then so many bytes"
    )


def _of_contents(name: str, datatype: str, size: int, contents: pb.InferTensorContents) -> Values:
    field = CONTENTS[datatype]
    elements = getattr(contents, field)
    if len(elements) != size:
        raise BadRequest(
            f"input {shown(name)} has {len(elements):,} elements in {field}, where "
            f"datatype {datatype} "
            f"has them; its shape takes {size:,}"
        )
    if datatype == BYTES:
        return list(elements)
    dtype = DTYPES[datatype]
    # An INT8 is sent as an int32, and so on.
    narrow = field in ("int_contents", "uint_contents")
    wide: NDArray[Any] = np.array(elements, np.int64 if narrow else dtype)
    values = wide.astype(dtype)
    if narrow and not np.array_equal(values, wide):
        raise BadRequest(f"input {shown(name)} has an element that {datatype} does not hold")
    return values


def write_outputs(out: pb.ModelInferResponse, tensors: Sequence[Tensor], raw: bool) -> None:
    """Add tensors to a response, as raw bytes or in the fields of their datatypes."""
    for tensor in tensors:
        put = out.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        values = tensor.values
        if not raw:
            field = getattr(put.contents, CONTENTS[tensor.datatype])
            field.extend(values if isinstance(values, list) else values.tolist())
        elif isinstance(values, list):
            parts = (LENGTH.pack(len(value)) + value for value in values)
            out.raw_output_contents.append(b"".join(parts))
        else:
            out.raw_output_contents.append(values.astype(DTYPES[tensor.datatype]).tobytes())
