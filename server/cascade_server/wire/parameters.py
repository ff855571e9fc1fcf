"""Reads and writes the parameters of inference requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cascade_proto import inference_pb2 as pb
from cascade_tables.errors import shown

from cascade_server.errors import BadRequest

# In Triton, 0 is the model's default priority and 1 the highest. Here, 2 and above are offline.
OFFLINE_PRIORITY = 2
MOST = 2**64 - 1
# Most digits of a number sent as text; Python refuses to parse several thousand.
DIGITS = len(str(MOST))
# Allowed values of numeric parameters.
NUMBERS = {
    "priority": (0, 2**32 - 1),
    "timeout": (0, 2**63 - 1),
    "seed": (0, MOST),
    "draws": (1, 2**32 - 1),
    "rows": (1, 2**32 - 1),
    "steps": (1, 2**16 - 1),
}
SWITCHES = ("log_likelihood", "explain", "strict")
FIDELITIES = ("auto", "fast", "full")


@dataclass(frozen=True)
class Parameters:
    """The parameters of a request.

    Attributes:
        priority: 0 and 1: real-time; 2 and above: offline.
        timeout: microseconds; 0: only the call's deadline applies.
        given: the given parameters, by name.
    """

    priority: int = 0
    timeout: int = 0
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def offline(self) -> bool:
        """Whether the request yields to real-time requests."""
        return self.priority >= OFFLINE_PRIORITY


def read_parameters(request: pb.ModelInferRequest, allowed: Collection[str]) -> Parameters:
    """Check a request's parameters.

    Args:
        request: the received request.
        allowed: the parameters that the model allows.

    Raises:
        BadRequest: names the parameter, and what is allowed.
    """
    values: dict[str, Any] = {}
    for name, parameter in request.parameters.items():
        which = parameter.WhichOneof("parameter_choice")
        values[name] = getattr(parameter, which) if which else None
    return check_parameters(values, allowed)


def check_parameters(values: Mapping[str, Any], allowed: Collection[str]) -> Parameters:
    """Check parameters given by name; see `read_parameters`."""
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in allowed:
            listed = ", ".join(sorted(allowed))
            raise BadRequest(f"parameter {shown(name)} is unknown; allowed: {listed}")
        if name in NUMBERS:
            given[name] = _number(name, value)
        elif name in SWITCHES:
            if not isinstance(value, bool):
                raise BadRequest(
                    f"parameter {shown(name)} is {shown(value)}; allowed: true and false"
                )
            given[name] = value
        else:
            if value not in FIDELITIES:
                listed = ", ".join(FIDELITIES)
                raise BadRequest(f"parameter {shown(name)} is {shown(value)}; allowed: {listed}")
            given[name] = value
    return Parameters(given.get("priority", 0), given.get("timeout", 0), given)


def _number(name: str, value: Any) -> int:
    low, high = NUMBERS[name]
    # Clients send a number as text if they lack a type for it.
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= DIGITS:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadRequest(f"parameter {shown(name)} is {shown(value)}; allowed: {low:,} to {high:,}")
    return value


def put(out: Any, name: str, value: bool | int | float | str) -> None:
    """Set a parameter of a response."""
    if isinstance(value, bool):
        out[name].bool_param = value
    elif isinstance(value, int):
        # Clients that only support the standard's types have no unsigned ones.
        if value < 2**63:
            out[name].int64_param = value
        else:
            out[name].uint64_param = value
    elif isinstance(value, float):
        out[name].double_param = value
    else:
        out[name].string_param = value
