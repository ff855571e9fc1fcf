"""Names of the tensors and parameters that a table's model and those of its networks have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cascade_tables import Kind

from cascade_server.terms import Tier
from cascade_server.wire.tensors import BYTES

COMMON = ("priority", "seed", "timeout")

# Parameters that a model allows, by who draws; None: the cascade.
PARAMETERS: Mapping[Tier | None, tuple[str, ...]] = {
    None: (*COMMON, "draws", "rows", "fidelity", "log_likelihood", "explain", "strict"),
    Tier.STUDENT: COMMON,
    Tier.TEACHER: (*COMMON, "steps"),
}

# The first is what outputs have; inputs may have any of them.
DATATYPES: Mapping[Kind, tuple[str, ...]] = {
    Kind.CATEGORICAL: (BYTES,),
    Kind.BOOLEAN: ("BOOL",),
    Kind.INTEGER: ("INT64", "INT32", "INT16", "INT8", "UINT32", "UINT16", "UINT8"),
    Kind.CONTINUOUS: ("FP64", "FP32"),
    Kind.DATETIME: ("INT64",),
}

STATE, STATE_TYPE = ".state", "UINT8"

LOG_LIKELIHOOD = "log_likelihood"

TOKENS, OBSERVED, NOISE, DRAWN = "tokens", "observed", "noise", "drawn"


class Model(NamedTuple):
    """One of the names.

    Attributes:
        name: the protocol's.
        table: whose it is.
        tier: whose network; None: the table itself.
    """

    name: str
    table: str
    tier: Tier | None

    @property
    def platform(self) -> str:
        """What runs it: the student is one graph; the others are passes and a cascade of them."""
        return "onnxruntime_onnx" if self.tier is Tier.STUDENT else "cascade"
