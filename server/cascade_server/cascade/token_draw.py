"""Tokens that a caller asks one model to complete, with no cascade in between."""

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
    """Tokens to complete, as a model of the repository takes them; there is no cascade in that.

    Attributes:
        runtime, tier: the model.
        tokens, observed: int32 and bool [n, T]; a column's slots agree.
        noise: for it.
        steps: the teacher's passes at most.
        work: until when.
        outputs: what is wanted: `DRAWN` tokens, or `LOG_LIKELIHOOD`.
        offline: nobody waits for it.
        spent: what was computed for it.
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
    """What a network made of it: int32 [n, T] tokens, or float64 [n] log-likelihoods in nats, by
    output and in the order in which they are wanted."""

    draw: TokenDraw
    values: Mapping[str, Any]
