"""Tensors of the protocol, typed and raw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cascade_proto import inference_pb2 as pb
from cascade_server.errors import BadRequest
from cascade_server.wire.tensors import (
    BYTES,
    CONTENTS,
    DTYPES,
    Tensor,
    read_inputs,
    write_outputs,
)
from hypothesis import given
from hypothesis import strategies as st

EXAMPLES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    "INT8": [-128, 127],
    "INT16": [-(2**15), 2**15 - 1],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "UINT8": [0, 255],
    "UINT16": [0, 2**16 - 1],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "FP32": [0.5, -3.25],
    "FP64": [0.1, 1e300],
    BYTES: [b"", b"\x00two words"],
}


def plain(tensor: Tensor) -> list[Any]:
    return tensor.values if isinstance(tensor.values, list) else tensor.values.tolist()


def of(datatype: str, shape: list[int], **contents: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest()
    each = request.inputs.add(name="x", datatype=datatype, shape=shape)
    if contents:
        each.contents.CopyFrom(pb.InferTensorContents(**contents))
    return request


def raw(datatype: str, shape: list[int], content: bytes) -> pb.ModelInferRequest:
    request = of(datatype, shape)
    request.raw_input_contents.append(content)
    return request


def test_every_datatype_has_an_example() -> None:
    assert set(EXAMPLES) == set(CONTENTS) == {*DTYPES, BYTES}


@pytest.mark.parametrize("datatype", EXAMPLES)
@pytest.mark.parametrize("as_raw", [True, False])
def test_what_is_written_can_be_read(datatype: str, as_raw: bool) -> None:
    values: Any = EXAMPLES[datatype]
    if datatype != BYTES:
        values = np.array(values, DTYPES[datatype])
    response = pb.ModelInferResponse()
    write_outputs(response, [Tensor("x", datatype, (2, 1), values)], as_raw)
    assert len(response.raw_output_contents) == as_raw
    # Outputs and inputs are alike on the wire.
    request = pb.ModelInferRequest()
    request.inputs.add().MergeFromString(response.outputs[0].SerializeToString())
    request.raw_input_contents.extend(response.raw_output_contents)
    found = read_inputs(request)["x"]
    assert (found.datatype, found.shape, plain(found)) == (datatype, (2, 1), EXAMPLES[datatype])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (of("FP16", [1]), "datatype 'FP16'; allowed: BOOL"),
        (of("INT64", [2], int64_contents=[1]), "1 elements in int64_contents"),
        (of("INT64", [1], int_contents=[1]), "0 elements in int64_contents"),
        (of("INT8", [1], int_contents=[128]), "an element that INT8 does not hold"),
        (of("INT64", [-1], int64_contents=[1]), "no length is negative"),
        (raw("INT64", [2], b"\0" * 15), "15 raw bytes; its shape and datatype INT64 take 16"),
        (raw("BOOL", [1], b"\2"), "neither 0 nor 1"),
        (raw("BYTES", [1], b"\1\0\0"), "ends inside an element"),
        (raw("BYTES", [1], b"\2\0\0\0a"), "ends inside an element"),
        (raw("BYTES", [2], b"\1\0\0\0a"), "1 elements; its shape takes 2"),
    ],
)
def test_what_is_wrong_is_said(request_: pb.ModelInferRequest, message: str) -> None:
    with pytest.raises(BadRequest, match="input 'x'") as refused:
        read_inputs(request_)
    assert message in str(refused.value)


def test_an_input_is_listed_once() -> None:
    request = of("INT64", [1], int64_contents=[1])
    request.inputs.append(request.inputs[0])
    with pytest.raises(BadRequest, match="listed twice"):
        read_inputs(request)


def test_raw_contents_are_of_all_inputs_or_of_none() -> None:
    request = raw("INT8", [1], b"\1")
    request.inputs.add(name="y", datatype="INT8", shape=[1])
    with pytest.raises(BadRequest, match="one for each input, or none"):
        read_inputs(request)


def test_contents_exclude_raw_ones() -> None:
    request = of("INT64", [1], int64_contents=[1])
    request.raw_input_contents.append(b"\0" * 8)
    with pytest.raises(BadRequest, match="beside raw_input_contents"):
        read_inputs(request)


def test_shared_memory_is_not_served() -> None:
    request = of("INT64", [1])
    request.inputs[0].parameters["shared_memory_region"].string_param = "mine"
    with pytest.raises(BadRequest, match="shared_memory_region"):
        read_inputs(request)


@given(
    st.sampled_from([*EXAMPLES, "", "FP16"]),
    st.lists(st.integers(-2, 2**40), max_size=3),
    st.binary(max_size=64),
)
def test_raw_bytes_are_read_or_refused(datatype: str, shape: list[int], content: bytes) -> None:
    try:
        found = read_inputs(raw(datatype, shape, content))["x"]
    except BadRequest:
        return
    assert len(found.values) == np.prod(shape, dtype=object)
