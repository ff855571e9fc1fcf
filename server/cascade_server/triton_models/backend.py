"""Requests and responses of Triton's Python backend, as arrays by name.

https://github.com/triton-inference-server/python_backend
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import triton_python_backend_utils as pb_utils
from cascade_tables import load_release
from numpy.typing import NDArray

from cascade_server.engines.runtime import Runtime
from cascade_server.errors import ConfigError, NotReady, refusal_of
from cascade_server.terms import Tier
from cascade_server.wire.parameters import Parameters, check_parameters
from cascade_server.wire.tensors import BYTES, DTYPES, Tensor

# Published without types.
Request: TypeAlias = Any
Response: TypeAlias = Any
Sender: TypeAlias = Any

# By name: Triton puts its own classes into the module once a model.py has been imported.
ERRORS = {
    grpc.StatusCode.INVALID_ARGUMENT: "INVALID_ARG",
    grpc.StatusCode.NOT_FOUND: "NOT_FOUND",
    # As Triton itself says that a request waited for too long.
    grpc.StatusCode.DEADLINE_EXCEEDED: "UNAVAILABLE",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "UNAVAILABLE",
    grpc.StatusCode.UNAVAILABLE: "UNAVAILABLE",
}
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


def load(args: Mapping[str, str], tiers: Collection[Tier]) -> Runtime:
    """The release that a model is of, verified; with sessions for some tiers.

    Args:
        args: what Triton hands to `initialize`.
        tiers: that this model runs itself.

    Raises:
        ReleaseError: it is not whole.
    """
    folder = Path(args["model_repository"])
    table = folder.name
    for tier in tiers:
        table = table.removesuffix(f"_{tier}")
    return Runtime(load_release(folder.parent, table, int(args["model_version"])), tiers=tiers)


def setting(args: Mapping[str, str], name: str, allowed: Sequence[str]) -> str:
    """A parameter of a model's config.pbtxt; the first that is allowed where it has none.

    Raises:
        ConfigError: it is something else.
    """
    found = json.loads(args["model_config"]).get("parameters", {}).get(name, {})
    value = str(found.get("string_value", allowed[0]))
    if value not in allowed:
        raise ConfigError(f"parameter {name!r} is {value!r}; allowed: {', '.join(allowed)}")
    return value


def arrays(request: Request) -> dict[str, NDArray[Any]]:
    """A request's inputs by name; text is an array of bytes objects."""
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}


def tensors(given: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Arrays as the protocol's tensors."""
    out = {}
    for name, array in given.items():
        flat = array.reshape(-1)
        out[name] = (
            Tensor(name, BYTES, array.shape, flat.tolist())
            if array.dtype == object
            else Tensor(name, DATATYPES[array.dtype], array.shape, flat)
        )
    return out


def array_of(tensor: Tensor) -> NDArray[Any]:
    """A tensor of the protocol as an array."""
    values = tensor.values
    if not isinstance(values, list):
        return values.reshape(tensor.shape)
    out = np.empty(len(values), object)
    out[:] = values
    return out.reshape(tensor.shape)


def parameters(request: Request, allowed: Collection[str]) -> Parameters:
    """A request's parameters, checked, with its timeout; Triton keeps the priority for itself.

    Raises:
        BadRequest: names the parameter, and what is allowed.
    """
    return checked(request.parameters(), request.timeout(), tuple(allowed))


# Callers ask alike but for their seeds, and to read JSON costs as much as the rest of a request.
@lru_cache(1024)
def checked(text: str, timeout: int, allowed: tuple[str, ...]) -> Parameters:
    """Parameters of a JSON text, and a timeout in microseconds; see `parameters`."""
    values = json.loads(text or "{}")
    if timeout:
        values["timeout"] = timeout
    return check_parameters(values, allowed)


def reply(outputs: Mapping[str, NDArray[Any]]) -> Response:
    """A response with these outputs, by name."""
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, array) for name, array in outputs.items()]
    )


def refused(error: Exception) -> Response:
    """A response that says what is wrong; what was not foreseen is in Triton's log."""
    refusal = refusal_of(error)
    code = getattr(pb_utils.TritonError, ERRORS.get(refusal.code, "INTERNAL"))
    return pb_utils.InferenceResponse([], pb_utils.TritonError(refusal.message, code))


def send(sender: Sender, response: Response) -> None:
    """Answer a request that `execute` has not answered."""
    sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def microseconds(left: float) -> int:
    """A `timeout` of Triton's, of so many seconds; where there is no end to them, 0."""
    return 0 if math.isinf(left) else max(1, round(1e6 * left))


def warm_ups(args: Mapping[str, str]) -> int:
    """Requests with which Triton warms an instance up, before any other reaches it."""
    samples = json.loads(args["model_config"]).get("model_warmup", [])
    return sum(max(1, int(sample.get("count", 1))) for sample in samples)


def call(
    model: str,
    version: int,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
    parameters: Mapping[str, Any] | None = None,
    timeout: int = 0,
) -> list[NDArray[Any]]:
    """BatchRequest another model of this Triton, and wait ("business logic scripting").

    Args:
        model, version: which.
        inputs: by name.
        outputs: names.
        parameters: of the request.
        timeout: microseconds that it may wait in the model's queue; 0: as long as it takes.

    Returns:
        The outputs, in the order of their names.

    Raises:
        NotReady: the model does not answer; says what Triton says.
    """
    request = pb_utils.InferenceRequest(
        model_name=model,
        model_version=version,
        inputs=[pb_utils.Tensor(name, array) for name, array in inputs.items()],
        requested_output_names=list(outputs),
        parameters=dict(parameters or {}),
        timeout=timeout,
    )
    response = request.exec()
    if response.has_error():
        raise NotReady(f"model {model!r} does not answer: {response.error().message()}")
    found = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
    return [found[name] for name in outputs]
