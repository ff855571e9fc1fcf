"""Requests to one named network, tokens in and tokens out, without routing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cascade_server.deadline import Work
from cascade_server.engines.noise import NoiseSource
from cascade_server.engines.runtime import Mask, Runtime, Tokens
from cascade_server.engines.spent import Spent
from cascade_server.terms import Tier
from cascade_server.wire.model_tensors import DRAWN


@dataclass(frozen=True, eq=False)
class TokenDraw:
    """A request of the Open Inference Protocol for one network to complete tokens.

    Attributes:
        runtime: the release.
        tier: the network.
        tokens: int32 [n, T].
        observed: bool [n, T], which tokens are known; the slots of one column agree.
        noise: returns the network's random numbers.
        steps: most passes of the teacher; the student always makes one.
        work: the request's deadline.
        outputs: which of `DRAWN` and `LOG_LIKELIHOOD` to return.
        offline: whether real-time work goes first.
        spent: the compute for it so far.
    """

    runtime: Runtime
    tier: Tier
    tokens: Tokens
    observed: Mask
    noise: NoiseSource
    steps: int
    work: Work
    outputs: tuple[str, ...] = (DRAWN,)
    offline: bool = False
    spent: Spent = field(default_factory=Spent)


class TokenAnswer(NamedTuple):
    """A network's outputs by name, in the requested order.

    `DRAWN` is int32 [n, T], `LOG_LIKELIHOOD` float64 [n] in nats.
    """

    draw: TokenDraw
    values: Mapping[str, Any]
