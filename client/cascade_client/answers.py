"""What the server says, as frozen values that print readably."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from numpy.typing import NDArray

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1)


class Tier(StrEnum):
    """Which generator made the rows."""

    STUDENT = "student"
    TEACHER = "teacher"
    UNKNOWN = "unknown"  # a tier that this version of the client has no name for


TIERS: Mapping[int, Tier] = {pb.TIER_STUDENT: Tier.STUDENT, pb.TIER_TEACHER: Tier.TEACHER}


@dataclass(frozen=True)
class Timings:
    """Where the server's time went, in seconds."""

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
        tier, steps: who, in how many network passes.
        predicted: seconds until its answer that the server would not have exceeded 99 times of 100.
        from_pool: of rows that were made ahead of time.
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
    """How a value is outside of what was learnt."""

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
    """A value of the request that was never learnt; it comes back as it was given.

    Attributes:
        column, row: where, rows of the request from 0.
        kind: how it is outside of what was learnt.
        conditioned_on: the value that stood for it while the rest of its row was drawn, as text;
            None: it counted as not known.
    """

    column: str
    row: int
    kind: OutsideKind
    conditioned_on: str | None


@dataclass(frozen=True)
class OutsideTotal:
    """How many such values of one kind a column of the request has."""

    column: str
    kind: OutsideKind
    values: int


@dataclass(frozen=True)
class Provenance:
    """Where rows come from; every answer carries it.

    Attributes:
        synthetic: True: nothing here was measured but what the caller gave.
        table: the table's name.
        version: the release that answered.
        tier: the student (fast) or the teacher (full fidelity).
        steps: network passes a row.
        seed: asking the same tier of the same version again with it gives equal rows; 0 where
            `from_pool`: such rows cannot be asked for again.
        from_pool: the teacher made the rows ahead of time.
        epsilon: the release's differential-privacy budget; None: it was trained without.
        timings: where the server's time went.
        notices: what was made of the values that were never learnt, in words.
        routing: why this tier answered; None unless `explain` asked for it.
        cached: the rows were drawn for an equal request with the same seed.
        outside_values: values of the request that were never learnt, the first hundred.
        outside_totals: how many there are of all, by column and kind.
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


@dataclass(frozen=True, eq=False)
class Synthesis(Generic[T]):
    """Complete rows, in the form in which the request's came.

    Attributes:
        data: the rows; draw d of row i is row ``i * draws + d``. A DataFrame keeps the request's
            index, each label repeated `draws` times.
        provenance: what made them.
        log_likelihood: float64 [rows of the request], ln p(observed columns) in nats; None where
            it was not asked for.
        draws: answers for each row of the request.
    """

    data: T
    provenance: Provenance
    log_likelihood: NDArray[np.float64] | None = None
    draws: int = 1

    def mean_over_draws(self, scores: Any) -> NDArray[np.float64]:
        """The mean of each row's draws of something that was made of `data`, such as a model's
        scores: what is known of a row whose features are late is the mean over what they may be.

        >>> answer = client.synthesize("credit", frame, draws=32)
        >>> risk = answer.mean_over_draws(model.predict_proba(answer.data)[:, 1])

        Args:
            scores: numbers, [rows x draws, ...], one or more for each row of `data`.

        Returns:
            float64 [rows of the request, ...].

        Raises:
            ValueError: there are not so many of them.
        """
        values = np.asarray(scores, np.float64)
        if values.ndim == 0 or len(values) % self.draws:
            raise ValueError(
                f"scores have shape {values.shape}; one for each row of data is needed, "
                f"{self.draws} for each row of the request"
            )
        grouped = values.reshape(-1, self.draws, *values.shape[1:])
        means: NDArray[np.float64] = grouped.mean(axis=1)
        return means

    def by_draw(self) -> T:
        """`data` as a DataFrame of pandas whose index says the draw too, as its last level "draw":
        ``answer.by_draw().groupby(level=0).mean(numeric_only=True)``.

        Raises:
            TypeError: `data` is no DataFrame of pandas.
        """
        frame: Any = self.data
        if type(frame).__module__.partition(".")[0] != "pandas":
            raise TypeError(f"data is a {type(frame).__name__}; a DataFrame of pandas is allowed")
        draw = np.tile(np.arange(self.draws), len(frame) // self.draws)
        names = [*frame.index.names, "draw"]
        levels = [frame.index.get_level_values(at) for at in range(frame.index.nlevels)]
        import pandas as pd

        out: T = frame.set_axis(pd.MultiIndex.from_arrays([*levels, draw], names=names))
        return out


@dataclass(frozen=True, eq=False)
class Chunk(Generic[T]):
    """A part of a stream of generated rows.

    Attributes:
        data: the rows of this part.
        done: rows streamed so far, these included.
        total: rows to come in all.
        provenance: what made them.
    """

    data: T
    done: int
    total: int
    provenance: Provenance


@dataclass(frozen=True)
class TableSummary:
    """A table that the server has releases of; `versions` in increasing order."""

    table: str
    versions: tuple[int, ...]
    columns: int

    def __str__(self) -> str:
        versions = ", ".join(map(str, self.versions))
        return f"{self.table}: {self.columns} columns, version {versions}"


@dataclass(frozen=True)
class ColumnDescription:
    """What a column may hold.

    Attributes:
        name: its name.
        kind: categorical, boolean, integer, continuous or datetime.
        nullable: whether NULL may be observed, and is synthesised.
        dtype: the dtype it had in its source.
        minimum, maximum: bounds of numbers and of date-times (in microseconds since 1970-01-01
            UTC); None for the other kinds.
        categories: what a categorical column may hold, most frequent first.
        other: the label that rare and unseen categories fold into; None: none do, and an unseen
            one counts as not known.
    """

    name: str
    kind: str
    nullable: bool
    dtype: str
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    other: str | None = None

    @property
    def allowed(self) -> str:
        """What it may hold, in words: "an integer from 21 to 79"."""
        words = {
            "categorical": _some_of(self.categories)
            + (f"; others become {self.other!r}" if self.other is not None else ""),
            "boolean": "true or false",
            "integer": f"an integer{self._bounds()}",
            "continuous": f"a number{self._bounds()}",
            "datetime": f"a date-time{self._bounds()}",
        }.get(self.kind, self.kind)
        return f"{words}, or NULL" if self.nullable else words

    def _bounds(self) -> str:
        if self.minimum is None or self.maximum is None:
            return ""
        return f" from {self._bound(self.minimum)} to {self._bound(self.maximum)}"

    def _bound(self, value: float) -> str:
        if self.kind == "datetime":
            return (EPOCH + timedelta(microseconds=round(value))).isoformat(sep=" ")
        return f"{value:.0f}" if value == round(value) and abs(value) < 1e15 else repr(value)


@dataclass(frozen=True)
class DroppedColumn:
    """A column of the source that the release leaves out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ReleaseDescription:
    """One release of a table.

    Attributes:
        version: its number.
        created: when, in ISO 8601.
        schema_fingerprint: SHA-256 of its schema.
        epsilon: the differential-privacy budget; None: trained without.
        fidelity: measured figures by tier: "student", "teacher", and "floor" for real rows
            against real rows.
        libraries: versions it was trained with.
    """

    version: int
    created: str
    schema_fingerprint: str
    epsilon: float | None = None
    fidelity: dict[str, dict[str, float]] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TableDescription:
    """Schema, releases and fidelity of a table; `str()` of it is a table to read.

    Attributes:
        table: its name.
        version: the release whose schema this is.
        columns: in the order in which rows come.
        dropped: columns of the source that were left out.
        releases: every release the server has.
        max_rows: rows x draws that one request may ask for; larger frames go in parts.
        max_message_bytes: of its message.
    """

    table: str
    version: int
    columns: tuple[ColumnDescription, ...]
    dropped: tuple[DroppedColumn, ...] = ()
    releases: tuple[ReleaseDescription, ...] = ()
    max_rows: int = 65_536
    max_message_bytes: int = 16 * 2**20

    def column(self, name: str) -> ColumnDescription | None:
        """The column of that name, or None."""
        return self.by_name.get(name)

    @cached_property
    def by_name(self) -> dict[str, ColumnDescription]:
        """The columns by name."""
        return {column.name: column for column in self.columns}

    def __str__(self) -> str:
        lines = [f"{self.table} v{self.version}: {len(self.columns)} columns"]
        lines += _aligned(
            [("column", "kind", "dtype", "allowed")]
            + [(c.name, c.kind, c.dtype, c.allowed) for c in self.columns]
        )
        lines += [f"left out: {d.name} ({d.reason})" for d in self.dropped]
        for release in self.releases:
            epsilon = "" if release.epsilon is None else f", ε = {release.epsilon:g}"
            lines.append(f"release {release.version} of {release.created}{epsilon}")
            for tier, figures in release.fidelity.items():
                listed = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                lines.append(f"  {tier}: {listed}")
        return "\n".join(lines)


def _some_of(categories: tuple[str, ...], most: int = 12) -> str:
    listed = ", ".join(repr(category) for category in categories[:most])
    hidden = len(categories) - most
    return f"one of {listed}" + (f" and {hidden} more" if hidden > 0 else "")


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def from_microseconds(value: int) -> datetime:
    """The naive UTC date-time that many microseconds after 1970-01-01."""
    return EPOCH + timedelta(microseconds=value)


def to_microseconds(value: datetime) -> int:
    """Microseconds since 1970-01-01 UTC; a naive date-time is taken as UTC."""
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return (value - EPOCH) // timedelta(microseconds=1)
