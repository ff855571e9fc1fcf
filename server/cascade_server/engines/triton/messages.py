"""Batches in the Open Inference Protocol, and answers, which are checked and not trusted."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from cascade_proto import inference_pb2 as pb
from numpy.typing import NDArray

from cascade_server.engines.runtime import Mask, Noise, Tokens
from cascade_server.engines.triton.contract import Network
from cascade_server.terms import Tier
from cascade_server.wire.model_tensors import DRAWN, LOG_LIKELIHOOD, NOISE, OBSERVED, TOKENS
from cascade_server.wire.parameters import OFFLINE_PRIORITY

DTYPES = {
    "INT32": np.dtype("<i4"),
    "BOOL": np.dtype(np.bool_),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


class WrongAnswer(Exception):
    """A server's answer violates the contract; says how."""


class Batch(NamedTuple):
    """The input of a call to a server.

    Attributes:
        tokens, observed: int32 and bool [n, T].
        noise: uniform float32 [n, W]; None for log-likelihoods instead of rows.
        steps: the most passes of the teacher.
    """

    tokens: Tokens
    observed: Mask
    noise: Noise | None
    steps: int

    @property
    def rows(self) -> int:
        return len(self.tokens)


def to_request(
    network: Network, batch: Batch, remaining: float, offline: bool
) -> pb.ModelInferRequest:
    """Return a batch as a request; `remaining` seconds become its timeout."""
    request = pb.ModelInferRequest(model_name=network.model, model_version=str(network.version))
    tensors: list[tuple[str, str, NDArray[Any]]] = [
        (TOKENS, "INT32", batch.tokens),
        (OBSERVED, "BOOL", batch.observed),
    ]
    if batch.noise is not None:
        tensors.append((NOISE, "FP32", batch.noise))
    for name, datatype, values in tensors:
        request.inputs.add(name=name, datatype=datatype, shape=values.shape)
        raw: NDArray[Any] = np.ascontiguousarray(values, DTYPES[datatype])
        request.raw_input_contents.append(raw.tobytes())
    request.outputs.add(name=LOG_LIKELIHOOD if batch.noise is None else DRAWN)
    if network.tier is Tier.TEACHER and batch.noise is not None:
        request.parameters["steps"].int64_param = batch.steps
    if math.isfinite(remaining):
        request.parameters["timeout"].int64_param = max(1, int(1e6 * remaining))
    if offline:
        request.parameters["priority"].int64_param = OFFLINE_PRIORITY
    return request


def to_answer(network: Network, batch: Batch, response: pb.ModelInferResponse) -> NDArray[Any]:
    """Return rows, int32 [n, T], or log-likelihoods, float64 [n].

    Raises:
        WrongAnswer: the answer is neither, or has tokens that do not exist.
    """
    if batch.noise is None:
        scores = _tensor(response, LOG_LIKELIHOOD, "FP64", (batch.rows, 1)).reshape(-1)
        if np.isnan(scores).any():
            raise WrongAnswer(f"{LOG_LIKELIHOOD} has values that are no numbers")
        return scores
    drawn = _tensor(response, DRAWN, "INT32", (batch.rows, network.slots))
    wrong = (drawn < 0) | (drawn >= np.asarray(network.sizes))
    if wrong.any():
        row, slot = np.argwhere(wrong)[0].tolist()
        raise WrongAnswer(
            f"{DRAWN} has {drawn[row, slot]} in slot {slot}; the release allows 0 to "
            f"{network.sizes[slot] - 1}"
        )
    if (wrong := batch.observed & (drawn != batch.tokens)).any():
        slot = int(np.argwhere(wrong)[0, 1])
        raise WrongAnswer(f"{DRAWN} has another token than the one that is known of slot {slot}")
    return drawn


def _tensor(
    response: pb.ModelInferResponse, name: str, datatype: str, shape: tuple[int, ...]
) -> NDArray[Any]:
    found = next(
        ((number, out) for number, out in enumerate(response.outputs) if out.name == name), None
    )
    if found is None:
        raise WrongAnswer(f"the answer has no output {name!r}")
    number, output = found
    if output.datatype != datatype or tuple(output.shape) != shape:
        raise WrongAnswer(
            f"{name} is {output.datatype} {list(output.shape)}; asked for: {datatype} {list(shape)}"
        )
    raw = (
        response.raw_output_contents[number] if number < len(response.raw_output_contents) else b""
    )
    dtype = DTYPES[datatype]
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise WrongAnswer(f"{name} has {len(raw):,} raw bytes for shape {list(shape)}")
    # A copy, because callers may write to the result.
    values: NDArray[Any] = np.frombuffer(raw, dtype).reshape(shape).copy()
    return values
