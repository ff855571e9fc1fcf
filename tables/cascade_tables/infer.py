"""Infer a schema from data: what each column is, and which columns carry nothing to learn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.errors import DataError, SchemaError, UnknownColumn
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.overrides import ColumnOverride
from cascade_tables.schema import Column, Dropped, Kind, Schema

# A text column with more distinct values than this folds the rarer ones.
MAX_CATEGORIES = 128
# ... and so does one value seen fewer times than this, where there are that many.
MIN_CATEGORY_ROWS = 5
# A number with more distinct values than this is binned; see `codec`.
MAX_EXACT = 128
# Values that this share of the rows have are point masses of a binned number.
POINT_MASS_SHARE = 0.002
MAX_POINT_MASSES = 64
# From this many rows on, text that never (or hardly ever) repeats identifies a row.
IDENTIFIER_ROWS = 10
IDENTIFIER_SHARE = 0.95
MAX_DECIMALS = 6


def infer_schema(frame: Frame, overrides: Mapping[str, ColumnOverride] | None = None) -> Schema:
    """The schema of a table.

    Args:
        frame: the data, at least two rows.
        overrides: by column name, what to decide otherwise; see `load_overrides`.

    Raises:
        DataError: fewer than two rows, or infinite values.
        UnknownColumn: an override names a column the table lacks.
        SchemaError: no column is left to model, or an override contradicts the data.
    """
    overrides = overrides or {}
    for name in overrides:
        if name not in frame.columns:
            raise UnknownColumn(name, frame.columns, "named in the schema overrides")
    if len(frame) < 2:
        plural = "row" if len(frame) == 1 else "rows"
        raise DataError(f"the table has {len(frame)} {plural}; at least 2 are needed to learn from")
    columns, dropped = [], []
    for name, data in frame.columns.items():
        override = overrides.get(name, ColumnOverride())
        reason = "asked for in the overrides" if override.drop else ""
        if not reason:
            reason = _nothing_to_learn(data)
        if not reason and override.kind is None:
            reason = _identifier(data)
        if reason:
            dropped.append(Dropped(name, reason))
        else:
            columns.append(_column(name, data, override))
    return Schema(tuple(columns), tuple(dropped))


def _nothing_to_learn(data: ColumnData) -> str:
    present = data.present()
    if len(present) == 0:
        return "every value is NULL"
    if not data.null.any() and bool((present == present[0]).all()):
        return f"constant: every value is {present[0]!s}"
    return ""


def _identifier(data: ColumnData) -> str:
    present = data.present()
    if len(present) < IDENTIFIER_ROWS:
        return ""
    if data.values.dtype == object:
        distinct = len(set(present.tolist()))
        if distinct == len(present):
            return f"identifier: all {distinct:,} values differ"
        if distinct >= IDENTIFIER_SHARE * len(present) and distinct > MAX_CATEGORIES:
            return f"identifier: {distinct:,} of {len(present):,} values differ"
    if data.values.dtype == np.int64 and len(np.unique(present)) == len(present):
        low, high = int(present.min()), int(present.max())
        if high - low + 1 == len(present):
            return f"row number: {low} to {high}, each once"
    return ""


def _column(name: str, data: ColumnData, override: ColumnOverride) -> Column:
    kind = override.kind or _kind(data)
    nullable = bool(data.null.any()) if override.nullable is None else override.nullable
    if data.null.any() and not nullable:
        raise SchemaError(
            f"column {name!r}: the overrides say it is not nullable, "
            f"but {int(data.null.sum()):,} of its {len(data):,} rows are NULL"
        )
    if kind is Kind.BOOLEAN:
        if data.values.dtype != np.bool_:
            raise SchemaError(f"column {name!r}: kind boolean needs booleans, not {data.dtype}")
        return Column(name, kind, nullable, data.arrow_type)
    if kind is Kind.CATEGORICAL:
        return _categorical(name, data, nullable, override)
    if data.values.dtype == object or data.values.dtype == np.bool_:
        raise SchemaError(
            f"column {name!r}: kind {kind.value} needs numbers, not {data.arrow_type}"
        )
    return _number(name, data, kind, nullable, override)


def _kind(data: ColumnData) -> Kind:
    of = {"b": Kind.BOOLEAN, "i": Kind.INTEGER, "M": Kind.DATETIME, "O": Kind.CATEGORICAL}
    kind = of.get(data.values.dtype.kind)
    if kind is not None:
        return kind
    present = data.present()
    # Whole numbers that were stored as reals, as pandas does where some are missing.
    whole = bool((np.abs(present) < 2**53).all() and (present == np.floor(present)).all())
    return Kind.INTEGER if whole else Kind.CONTINUOUS


def as_text(values: NDArray[Any]) -> list[str]:
    """Categories of a column whose source may hold other things than text."""
    return [value if isinstance(value, str) else str(value) for value in values.tolist()]


def _categorical(name: str, data: ColumnData, nullable: bool, override: ColumnOverride) -> Column:
    values, counts = np.unique(np.array(as_text(data.present()), object), return_counts=True)
    order = np.lexsort((values, -counts))
    values, counts = values[order], counts[order]
    most = override.max_categories or MAX_CATEGORIES
    other = None
    if len(values) > most:
        keep = max(1, int((counts[: most - 1] >= MIN_CATEGORY_ROWS).sum()))
        values = values[:keep]
        other = override.other or _free_label(set(values.tolist()))
    elif override.other is not None:
        other = override.other
    if other is not None and other in set(values.tolist()):
        raise SchemaError(
            f"column {name!r}: the label for rare categories, {other!r}, is itself a category"
        )
    categories = tuple(values.tolist())
    return Column(
        name, Kind.CATEGORICAL, nullable, data.arrow_type, categories=categories, other=other
    )


def _free_label(taken: set[str]) -> str:
    label = "(other)"
    while label in taken:
        label = f"({label})"
    return label


def _number(
    name: str, data: ColumnData, kind: Kind, nullable: bool, override: ColumnOverride
) -> Column:
    present = data.present()
    if present.dtype.kind == "f":
        infinite = int(np.isinf(present).sum())
        if infinite:
            raise DataError(
                f"column {name!r} has {infinite:,} infinite values; allowed: finite numbers or NULL"
            )
    if kind is Kind.INTEGER and present.dtype.kind == "f":
        if bool((present != np.floor(present)).any()):
            raise SchemaError(f"column {name!r}: kind integer needs whole numbers")
        present = present.astype(np.int64)
    if kind is Kind.CONTINUOUS and present.dtype.kind == "i":
        present = present.astype(np.float64)
    if present.dtype.kind == "M":
        present = present.astype(np.int64)
    values, counts = np.unique(present, return_counts=True)
    low, high = values[0].item(), values[-1].item()
    low, high = _bounds(name, low, high, override)
    masses: tuple[float | int, ...] = ()
    if len(values) > MAX_EXACT:
        often = np.argsort(-counts, kind="stable")[:MAX_POINT_MASSES]
        often = often[counts[often] >= max(2, POINT_MASS_SHARE * len(data))]
        masses = tuple(np.sort(values[often]).tolist())
    if override.point_masses is not None:
        masses = tuple(sorted(override.point_masses))
    if present.dtype.kind == "i":
        # Python's integers: int64 differences may overflow.
        base = int(values[0])
        step = math.gcd(*(int(v) - base for v in values[1:].tolist())) or 1
        return Column(
            name, kind, nullable, data.arrow_type, low, high, point_masses=masses, step=step
        )
    return Column(
        name,
        kind,
        nullable,
        data.arrow_type,
        low,
        high,
        point_masses=masses,
        decimals=_decimals(values),
    )


def _bounds(
    name: str, low: float | int, high: float | int, override: ColumnOverride
) -> tuple[float | int, float | int]:
    """Bounds may be widened, for what has not been seen yet, but not cut through the data."""
    if override.minimum is not None:
        if override.minimum > low:
            raise SchemaError(
                f"column {name!r}: minimum {override.minimum} in the overrides is above the "
                f"smallest value, {low}"
            )
        low = type(low)(override.minimum)
    if override.maximum is not None:
        if override.maximum < high:
            raise SchemaError(
                f"column {name!r}: maximum {override.maximum} in the overrides is below the "
                f"largest value, {high}"
            )
        high = type(high)(override.maximum)
    return low, high


def _decimals(values: NDArray[Any]) -> int | None:
    """The fewest digits behind the point that write every value exactly, if six do."""
    if float(np.abs(values).max()) > 1e9:
        return None
    for digits in range(MAX_DECIMALS + 1):
        if bool((np.round(values, digits) == values).all()):
            return digits
    return None
