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

# These types are not published.
Request: TypeAlias = Any
Response: TypeAlias = Any
Sender: TypeAlias = Any

# By name: Triton adds its own classes to the module only once a model.py has been imported.
ERRORS = {
    grpc.StatusCode.INVALID_ARGUMENT: "INVALID_ARG",
    grpc.StatusCode.NOT_FOUND: "NOT_FOUND",
    # The code that Triton itself uses for a request that waited too long.
    grpc.StatusCode.DEADLINE_EXCEEDED: "UNAVAILABLE",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "UNAVAILABLE",
    grpc.StatusCode.UNAVAILABLE: "UNAVAILABLE",
}
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


def load(args: Mapping[str, str], tiers: Collection[Tier]) -> Runtime:
    """Load a model's release, verified, with sessions for some tiers.

    Args:
        args: the arguments that Triton passes to `initialize`.
        tiers: the tiers that this model runs itself.

    Raises:
        ReleaseError: the release is incomplete.
    """
    folder = Path(args["model_repository"])
    table = folder.name
    for tier in tiers:
        table = table.removesuffix(f"_{tier}")
    return Runtime(load_release(folder.parent, table, int(args["model_version"])), tiers=tiers)


def setting(args: Mapping[str, str], name: str, allowed: Sequence[str]) -> str:
    """Return a parameter of a model's config.pbtxt; the default is the first allowed value.

    Raises:
        ConfigError: its value is not allowed.
    """
    found = json.loads(args["model_config"]).get("parameters", {}).get(name, {})
    value = str(found.get("string_value", allowed[0]))
    if value not in allowed:
        raise ConfigError(f"parameter {name!r} is {value!r}; allowed: {', '.join(allowed)}")
    return value


def arrays(request: Request) -> dict[str, NDArray[Any]]:
    """Return a request's inputs by name; text is an array of bytes objects."""
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}


def tensors(given: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Convert arrays to the protocol's tensors."""
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
    """Convert a tensor of the protocol to an array."""
    values = tensor.values
    if not isinstance(values, list):
        return values.reshape(tensor.shape)
    out = np.empty(len(values), object)
    out[:] = values
    return out.reshape(tensor.shape)


def parameters(request: Request, allowed: Collection[str]) -> Parameters:
    """Return a request's checked parameters and timeout; Triton does not pass on the priority.

    Raises:
        BadRequest: names the parameter and what is allowed.
    """
    return checked(request.parameters(), request.timeout(), tuple(allowed))


# Requests often differ only in their seeds, and parsing JSON costs as much as the rest of a
# request.
@lru_cache(1024)
def checked(text: str, timeout: int, allowed: tuple[str, ...]) -> Parameters:
    """Return the parameters of a JSON text, and a timeout in microseconds; see `parameters`."""
    values = json.loads(text or "{}")
    if timeout:
        values["timeout"] = timeout
    return check_parameters(values, allowed)


def reply(outputs: Mapping[str, NDArray[Any]]) -> Response:
    """Return a response with these outputs, by name."""
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, array) for name, array in outputs.items()]
    )


def refused(error: Exception) -> Response:
    """Return a response with the error; unexpected errors go to Triton's log."""
    refusal = refusal_of(error)
    code = getattr(pb_utils.TritonError, ERRORS.get(refusal.code, "INTERNAL"))
    return pb_utils.InferenceResponse([], pb_utils.TritonError(refusal.message, code))


def send(sender: Sender, response: Response) -> None:
    """Answer a request that `execute` has not answered."""
    sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def microseconds(left: float) -> int:
    """Return Triton's `timeout` for so many seconds; 0 if they are infinite."""
    return 0 if math.isinf(left) else max(1, round(1e6 * left))


def warm_ups(args: Mapping[str, str]) -> int:
    """Return the number of Triton's warm-up requests to an instance, which precede all others."""
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
    """Call another model of this Triton, and wait ("business logic scripting").

    Args:
        model, version: the model to call.
        inputs: inputs by name.
        outputs: names of the outputs.
        parameters: parameters of the request.
        timeout: microseconds that it may wait in the model's queue; 0 for no limit.

    Returns:
        The outputs, in the order of their names.

    Raises:
        NotReady: the model does not answer; quotes Triton's message.
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
