"""Names of the tensors and parameters of the models of tables and of networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cascade_tables import Kind

from cascade_server.terms import Tier
from cascade_server.wire.tensors import BYTES

COMMON = ("priority", "seed", "timeout")

# Allowed parameters of a model, by the tier that draws; None: the cascade.
PARAMETERS: Mapping[Tier | None, tuple[str, ...]] = {
    None: (*COMMON, "draws", "rows", "fidelity", "log_likelihood", "explain", "strict"),
    Tier.STUDENT: COMMON,
    Tier.TEACHER: (*COMMON, "steps"),
}

# Outputs have the first datatype; inputs may have any of them.
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
    """A model of the protocol.

    Attributes:
        name: its name in the protocol.
        table: its table.
        tier: its network; None: the table itself.
    """

    name: str
    table: str
    tier: Tier | None

    @property
    def platform(self) -> str:
        """The platform: the student is one graph; other models are passes, or a cascade of them."""
        return "onnxruntime_onnx" if self.tier is Tier.STUDENT else "cascade"
