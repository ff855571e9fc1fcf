"""Provenance of rows: which tier drew them, the time it took, and how unlearnt values were
handled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cascade_proto import synthesis_pb2 as pb


class Tier(StrEnum):
    """Which generator made the rows."""

    STUDENT = "student"
    TEACHER = "teacher"
    UNKNOWN = "unknown"  # a tier that this version of the client has no name for


TIERS: Mapping[int, Tier] = {pb.TIER_STUDENT: Tier.STUDENT, pb.TIER_TEACHER: Tier.TEACHER}


@dataclass(frozen=True)
class Timings:
    """How the server's time was spent, in seconds."""

    encode: float = 0.0
    queue: float = 0.0
    compute: float = 0.0
    decode: float = 0.0

    @property
    def total(self) -> float:
        """Their sum: the server's share of the latency."""
        return self.encode + self.queue + self.compute + self.decode


@dataclass(frozen=True)
class Considered:
    """A tier that could have answered.

    Attributes:
        tier, steps: the tier, and its network passes.
        predicted: the 99 % bound of the predicted time until its answer, in seconds.
        from_pool: whether the rows come from the pool of rows made ahead of time.
    """

    tier: Tier
    steps: int
    predicted: float
    from_pool: bool = False


@dataclass(frozen=True)
class Routing:
    """Why a tier answered; `considered` has the highest fidelity first."""

    reason: str
    considered: tuple[Considered, ...]


class OutsideKind(StrEnum):
    """How a value is outside the learnt range."""

    BELOW = "below"  # a number or date-time below the lowest
    ABOVE = "above"  # one above the highest
    BETWEEN = "between"  # a number between those of a column with few
    CATEGORY = "category"  # a category that is none of the column's
    NULL = "null"  # NULL in a column that had none
    NOT_A_NUMBER = "not_a_number"  # NaN
    UNKNOWN = "unknown"  # a kind that this version of the client has no name for


OUTSIDE_KINDS: Mapping[int, OutsideKind] = {
    pb.OutsideKind.Value(f"OUTSIDE_KIND_{kind.name}"): kind
    for kind in OutsideKind
    if kind is not OutsideKind.UNKNOWN
}


@dataclass(frozen=True)
class OutsideValue:
    """A value of the request that was never learnt; it is returned unchanged.

    Attributes:
        column, row: its position; rows of the request count from 0.
        kind: how it is outside the learnt range.
        conditioned_on: the value that replaced it while the rest of its row was drawn, as text;
            None: it counted as not known.
    """

    column: str
    row: int
    kind: OutsideKind
    conditioned_on: str | None


@dataclass(frozen=True)
class OutsideTotal:
    """Number of such values of one kind in a column of the request."""

    column: str
    kind: OutsideKind
    values: int


@dataclass(frozen=True)
class Provenance:
    """Provenance of rows; every answer carries it.

    Attributes:
        synthetic: True: nothing here was measured except the caller's own values.
        table: the table's name.
        version: the release that answered.
        tier: the student (fast) or the teacher (full fidelity).
        steps: network passes per row.
        seed: a request with this seed to the same tier of the same version gives equal rows; 0 with
            `from_pool`: such rows cannot be reproduced.
        from_pool: the teacher made the rows ahead of time.
        epsilon: the release's differential-privacy budget; None: it was trained without.
        timings: how the server's time was spent.
        notices: sentences about how unlearnt values were handled.
        routing: why this tier answered; None unless `explain` was set.
        cached: the rows were drawn for an equal request with the same seed.
        outside_values: values of the request that were never learnt, the first hundred.
        outside_totals: their total numbers, by column and kind.
    """

    synthetic: bool
    table: str
    version: int
    tier: Tier
    steps: int
    seed: int
    from_pool: bool = False
    epsilon: float | None = None
    timings: Timings = field(default_factory=Timings)
    notices: tuple[str, ...] = ()
    routing: Routing | None = None
    cached: bool = False
    outside_values: tuple[OutsideValue, ...] = ()
    outside_totals: tuple[OutsideTotal, ...] = ()

    def __str__(self) -> str:
        outside = sum(total.values for total in self.outside_totals)
        parts = [
            f"{self.table} v{self.version}",
            f"{self.tier}, {self.steps} step{'s' * (self.steps != 1)}",
            *(["from the pool"] if self.from_pool else []),
            *([f"ε = {self.epsilon:g}"] if self.epsilon is not None else []),
            *([] if self.from_pool else [f"seed {self.seed}"]),
            *(["cached"] if self.cached else []),
            *([f"{outside:,} value{'s' * (outside > 1)} never learnt"] if outside else []),
            f"{self.timings.total * 1000:.2f} ms in the server",
        ]
        return " · ".join(parts)
