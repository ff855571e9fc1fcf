"""Requests to one network by name, tokens in and tokens out, which no router sends elsewhere."""

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
    """Tokens that a caller of the Open Inference Protocol asks one network to complete.

    Attributes:
        runtime: the release.
        tier: which of its networks.
        tokens: int32 [n, T].
        observed: bool [n, T], which tokens are known; the slots of one column agree.
        noise: gives the network's random numbers.
        steps: passes of the teacher at most; the student always makes one.
        work: until when.
        outputs: which of `DRAWN` and `LOG_LIKELIHOOD` to return.
        offline: whether real-time work goes first.
        spent: what has been computed for it so far.
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
    """A network's outputs by name, in the order in which they were asked for: `DRAWN` is int32
    [n, T], `LOG_LIKELIHOOD` float64 [n] in nats."""

    draw: TokenDraw
    values: Mapping[str, Any]
