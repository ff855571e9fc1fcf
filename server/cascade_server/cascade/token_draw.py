"""Tokens that a caller asks one model to complete, with no cascade in between."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_server.deadline import Work
from cascade_server.engines.noise import NoiseSource
from cascade_server.engines.runtime import Mask, Runtime, Tokens
from cascade_server.terms import Tier


@dataclass(frozen=True, eq=False)
class TokenDraw:
    """Tokens to complete, as a model of the repository takes them; there is no cascade in that.

    Attributes:
        runtime, tier: the model.
        tokens, observed: int32 and bool [n, T]; a column's slots agree.
        noise: for it.
        steps: the teacher's passes at most.
        work: until when.
        offline: nobody waits for it.
    """

    runtime: Runtime
    tier: Tier
    tokens: Tokens
    observed: Mask
    noise: NoiseSource
    steps: int
    work: Work
    offline: bool = False
