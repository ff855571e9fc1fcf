"""The schema of a table: kinds, bounds and categories of its columns, and the columns left out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from cascade_tables.errors import SchemaError, UnknownColumn, listing, repeated, shown
from cascade_tables.relation import UNITS, Formula, Relation

# Most characters of a relation in the table of text.
LONGEST_RELATION = 160


class Kind(StrEnum):
    """How a column is modelled."""

    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    CONTINUOUS = "continuous"
    DATETIME = "datetime"

    @property
    def is_number(self) -> bool:
        """Ordered, with bounds; date-times count as microseconds."""
        return self in (Kind.INTEGER, Kind.CONTINUOUS, Kind.DATETIME)


@dataclass(frozen=True)
class Column:
    """One modelled column.

    Attributes:
        name: its name.
        kind: how it is modelled.
        nullable: whether it may be NULL.
        dtype: the Arrow type of its source, restored in the output.
        minimum, maximum: inclusive bounds of a number; microseconds since 1970-01-01 UTC for
            date-times.
        categories: of a categorical column, most frequent first.
        other: the label that rare and unseen categories fold into; None: unseen ones count as not
            known.
        min_count: rare categories seen at least this often replace the label in answers; None:
            answers have the label.
        point_masses: single values of a number that many rows share, such as zero.
        step: numbers are whole multiples of it above the minimum; None: no such step.
        decimals: digits behind the decimal point of a continuous column; None: not limited.
    """

    name: str
    kind: Kind
    nullable: bool
    dtype: str
    minimum: float | int | None = None
    maximum: float | int | None = None
    categories: tuple[str, ...] = ()
    other: str | None = None
    min_count: int | None = None
    point_masses: tuple[float | int, ...] = ()
    step: int | None = None
    decimals: int | None = None


@dataclass(frozen=True)
class Dropped:
    """A column of the source that is not modelled, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Schema:
    """The modelled columns in the source's order, the columns left out, and the exact relations
    between numbers, if any were looked for."""

    columns: tuple[Column, ...]
    dropped: tuple[Dropped, ...] = ()
    relations: tuple[Relation, ...] = ()

    def __post_init__(self) -> None:
        if not self.columns:
            reasons = "; ".join(f"{d.name!r}: {d.reason}" for d in self.dropped)
            raise SchemaError(f"no column is left to model ({reasons or 'the table has none'})")
        twice = repeated(self.names)
        if twice:
            raise SchemaError(f"column names repeat: {listing(map(shown, twice))}")
        for relation in self.relations:
            self.check_formula(relation.formula)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    def __getitem__(self, name: str) -> Column:
        column = self._by_name.get(name)
        if column is None:
            raise self.unknown(name)
        return column

    def unknown(self, name: str, where: str = "") -> UnknownColumn:
        """Build the error for a name that the schema lacks; says so if the column was left out.

        Args:
            name: the unknown name.
            where: description of where the name occurs.
        """
        left_out = next((f"left out: {d.reason}" for d in self.dropped if d.name == name), "")
        why = ", ".join(filter(None, (where, left_out)))
        return UnknownColumn(name, self.names, why)

    def check_formula(self, formula: Formula) -> None:
        """Refuse a relation that this table's columns cannot have.

        Raises:
            UnknownColumn: it names a column the schema lacks; suggests the nearest.
            SchemaError: a column is neither number nor date-time, dates are added rather than
                subtracted, or a number beside dates lacks its unit.
        """
        dates = []
        for name, sign in formula.signs.items():
            if name not in self._by_name:
                raise self.unknown(name, f"named in the relation {shown(str(formula))}")
            kind = self[name].kind
            if not kind.is_number:
                raise SchemaError(
                    f"relation {shown(str(formula))}: column {name!r} is {kind.value}; allowed: "
                    "numbers and date-times"
                )
            if kind is Kind.DATETIME:
                dates.append(sign)
        if sum(dates) != 0:
            raise SchemaError(
                f"relation {shown(str(formula))} adds dates; allowed: differences of dates, as in "
                "'closed = opened + days_open in days'"
            )
        mixed = 0 < len(dates) < len(formula.columns)
        if mixed and formula.unit is None:
            raise SchemaError(
                f"relation {shown(str(formula))} does not say what the number counts that is added "
                f"to a date; allowed: 'in' and one of {listing(UNITS)} at its end"
            )
        if formula.unit is not None and not mixed:
            raise SchemaError(
                f"relation {shown(str(formula))} needs no unit; allowed: one where a number is "
                "added to a date"
            )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the schema's canonical JSON, in hex."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe content; `from_dict` restores an equal schema.

        Newer fields, relations and `min_count`, are left out if they are empty, so that older
        schemas keep their fingerprints.
        """
        columns = [asdict(column) | {"kind": column.kind.value} for column in self.columns]
        for column in columns:
            if column["min_count"] is None:
                del column["min_count"]
        content: dict[str, Any] = {
            "columns": columns,
            "dropped": [asdict(column) for column in self.dropped],
        }
        if self.relations:
            content["relations"] = [relation.to_dict() for relation in self.relations]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Schema:
        """Restore the output of `to_dict`.

        Raises:
            SchemaError: a field is missing, unknown or of the wrong type.
            UnknownColumn: a relation names a column that does not exist.
        """
        try:
            columns = [
                Column(
                    **{
                        **entry,
                        "kind": Kind(entry["kind"]),
                        "categories": tuple(entry["categories"]),
                        "point_masses": tuple(entry["point_masses"]),
                    }
                )
                for entry in content["columns"]
            ]
            return cls(
                tuple(columns),
                tuple(Dropped(**entry) for entry in content["dropped"]),
                tuple(map(Relation.from_dict, content.get("relations", ()))),
            )
        except (SchemaError, UnknownColumn):
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise SchemaError(f"this is not a schema: {exc!r}") from exc

    def describe(self) -> str:
        """Return the schema as an aligned table of text."""
        rows = [("column", "kind", "null", "values")]
        rows += [
            (
                short_label(c.name),
                c.kind.value,
                "yes" if c.nullable else "",
                _values(c),
            )
            for c in self.columns
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [
            "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]])
            for row in rows
        ]
        lines.insert(1, "  ".join("─" * w for w in [*widths, 40]))
        if self.dropped:
            lines += ["", "left out:"]
            lines += [f"  {short_label(d.name)}: {d.reason}" for d in self.dropped]
            if any(d.reason.startswith(("identifier", "row number")) for d in self.dropped):
                lines.append("to keep one, name its kind in the file of --schema")
        if self.relations:
            lines += ["", "exact relations:"]
            lines += [f"  {_line(str(r.formula))}: {r.describe()}" for r in self.relations]
        return "\n".join(line.rstrip() for line in lines)


def short_label(text: str) -> str:
    """Format text for a line of the table: quoted if ambiguous, cut if long."""
    if not text.isprintable() or text != text.strip() or not text or "," in text:
        text = repr(text)
    return text if len(text) <= 40 else text[:37] + "..."


def _line(text: str) -> str:
    return text if len(text) <= LONGEST_RELATION else text[: LONGEST_RELATION - 3] + "..."


def _values(column: Column) -> str:
    """Describe a column's values in a few words."""
    if column.kind is Kind.BOOLEAN:
        return "true, false"
    if column.kind is Kind.CATEGORICAL:
        first = ", ".join(map(short_label, column.categories[:4]))
        count = len(column.categories)
        text = f"{count}: {first}{', …' if count > 4 else ''}"
        return text + (f"; rare ones as {column.other!r}" if column.other is not None else "")
    text = f"{_rounded(column, column.minimum)} … {_rounded(column, column.maximum)}"
    if column.point_masses:
        masses = ", ".join(_rounded(column, m) for m in column.point_masses[:3])
        more = ", …" if len(column.point_masses) > 3 else ""
        text += f"; often {masses}{more}"
    return text


def _rounded(column: Column, value: float | int | None) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else bound_text(column, value)


def bound_text(column: Column, value: float | int | None) -> str:
    """Format a number of the column exactly: a date-time in ISO form."""
    if value is None:
        return "?"
    if column.kind is Kind.DATETIME:
        text = str(np.datetime64(int(value), "us"))
        return text.removesuffix(".000000").removesuffix("T00:00:00")
    return f"{value:,}".removesuffix(".0")
