"""Schema, bounds and fidelity of the server's tables, as frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cascade_client.values.date_times import from_microseconds


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
    """Allowed values of a column.

    Attributes:
        name: its name.
        kind: categorical, boolean, integer, continuous or datetime.
        nullable: whether NULL may be observed, and is synthesised.
        dtype: the dtype it had in its source.
        minimum, maximum: bounds of numbers and of date-times (in microseconds since 1970-01-01
            UTC); None for the other kinds.
        categories: of a categorical column, most frequent first.
        other: the label that rare and unseen categories fold into; None: there is none, and an
            unseen category counts as not known.
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
        """Description of its allowed values: "an integer from 21 to 79"."""
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
            return from_microseconds(round(value)).isoformat(sep=" ")
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
    """Schema, releases and fidelity of a table; `str()` of it is a readable table.

    Attributes:
        table: its name.
        version: the release whose schema this is.
        columns: in the order of the rows' columns.
        dropped: columns of the source that were left out.
        releases: every release the server has.
        max_rows: most rows x draws of one request; larger frames go in parts.
        max_message_bytes: largest request message.
    """

    table: str
    version: int
    columns: tuple[ColumnDescription, ...]
    dropped: tuple[DroppedColumn, ...] = ()
    releases: tuple[ReleaseDescription, ...] = ()
    max_rows: int = 65_536
    max_message_bytes: int = 16 * 2**20

    def column(self, name: str) -> ColumnDescription | None:
        """Return the column of that name, or None."""
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
