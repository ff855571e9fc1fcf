"""Schema inference: the kind of each column, and which columns contain nothing to learn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.categories import (
    all_rare,
    categorical,
    check_text,
    rule_of,
)
from cascade_tables.errors import DataError, SchemaError, UnknownColumn, shown
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.identifiers import identifier
from cascade_tables.overrides import ColumnOverride, RareRule
from cascade_tables.schema import Column, Dropped, Kind, Schema

# A number with more distinct values than this is binned; see `codec`.
MAX_EXACT = 128
# Values that this share of the rows have are point masses of a binned number.
POINT_MASS_SHARE = 0.002
MAX_POINT_MASSES = 64
MAX_DECIMALS = 6


def infer_schema(
    frame: Frame,
    overrides: Mapping[str, ColumnOverride] | None = None,
    left_out: Mapping[str, str] | None = None,
    rule: RareRule | None = None,
) -> Schema:
    """Infer the schema of a table.

    Args:
        frame: the data, at least two rows.
        overrides: corrections by column name; see `load_overrides`.
        left_out: columns of the source that are not in the frame, and why.
        rule: treatment of rare categories; `RareRule()` by default.

    Raises:
        DataError: fewer than two rows, values that are infinite or not a number, or text that UTF-8
            cannot hold.
        UnknownColumn: an override names a column the table lacks.
        SchemaError: no column is left to model, or an override contradicts the data.
    """
    overrides = overrides or {}
    for name in overrides:
        if name not in frame.columns:
            known = [*frame.columns, *(left_out or {})]
            raise UnknownColumn(name, known, "named in the schema overrides")
    if len(frame) < 2:
        plural = "row" if len(frame) == 1 else "rows"
        raise DataError(f"the table has {len(frame)} {plural}; at least 2 are needed to learn from")
    columns: list[Column] = []
    dropped = [Dropped(name, reason) for name, reason in (left_out or {}).items()]
    for name, data in frame.columns.items():
        check_text(name, [name])
        override = overrides.get(name, ColumnOverride())
        reason = "asked for in the overrides" if override.drop else ""
        if not reason:
            reason = _nothing_to_learn(data)
        if not reason and override.kind is None:
            reason = identifier(name, data, kind_of(data))
        rare_rule = rule_of(override, rule or RareRule())
        column = None if reason else _column(name, data, override, rare_rule)
        if column is not None and not reason:
            reason = all_rare(column, data, rare_rule.min_count)
        if reason or column is None:
            dropped.append(Dropped(name, reason))
        else:
            columns.append(column)
    return Schema(tuple(columns), tuple(dropped))


def _nothing_to_learn(data: ColumnData) -> str:
    present = data.present()
    if len(present) == 0:
        return "every value is NULL"
    if not data.null.any() and bool((present == present[0]).all()):
        value = present[0]
        if isinstance(value, float) and abs(value) >= 2.0**53:
            return f"constant: every value is {value}, as far as the digits of real numbers go"
        return f"constant: every value is {shown(value) if isinstance(value, str) else value}"
    return ""


def _column(name: str, data: ColumnData, override: ColumnOverride, rule: RareRule) -> Column:
    kind = override.kind or kind_of(data)
    nullable = bool(data.null.any()) if override.nullable is None else override.nullable
    if data.null.any() and not nullable:
        raise SchemaError(
            f"column {name!r}: the overrides say it is not nullable, "
            f"but {int(data.null.sum()):,} of its {len(data):,} rows are NULL"
        )
    held, needed = HELD[kind]
    if data.values.dtype.kind not in held:
        raise SchemaError(
            f"column {name!r}: kind {kind.value} needs {needed}, not {data.arrow_type}"
        )
    _check_applies(name, kind, override)
    if data.values.dtype.kind in "fM":
        _check_finite(name, data.present())
    if kind is Kind.BOOLEAN:
        return Column(name, kind, nullable, data.arrow_type)
    if kind is Kind.CATEGORICAL:
        return categorical(name, data, nullable, override, rule)
    return _number(name, data, kind, nullable, override)


# NumPy kinds of the element types that each column kind accepts, with their names.
HELD = {
    Kind.CATEGORICAL: ("ObifM", "values"),
    Kind.BOOLEAN: ("b", "booleans"),
    Kind.INTEGER: ("if", "numbers"),
    Kind.CONTINUOUS: ("if", "numbers"),
    Kind.DATETIME: ("M", "date-times"),
}


def _check_applies(name: str, kind: Kind, override: ColumnOverride) -> None:
    """Refuse an override that has no effect on this kind: it was meant for another one."""
    numeric = ("minimum", "maximum", "point_masses")
    categorical = ("max_categories", "other", "rare", "min_count")
    for key in (*numeric, *categorical):
        applies = kind.is_number if key in numeric else kind is Kind.CATEGORICAL
        if getattr(override, key) is not None and not applies:
            raise SchemaError(
                f"column {name!r}: {key} in the overrides has no effect on a column of kind "
                f"{kind.value}"
            )


def _check_finite(name: str, present: NDArray[Any]) -> None:
    odd = present[~np.isfinite(present)]
    if len(odd):
        raise DataError(
            f"column {name!r} holds {odd[0]} ({len(odd):,} of {len(present):,} values are not "
            "finite); allowed: finite values or NULL"
        )


def kind_of(data: ColumnData) -> Kind:
    """Infer the kind of a column's values."""
    kinds = {"b": Kind.BOOLEAN, "i": Kind.INTEGER, "M": Kind.DATETIME, "O": Kind.CATEGORICAL}
    kind = kinds.get(data.values.dtype.kind)
    if kind is not None:
        return kind
    present = data.present()
    # Whole numbers that were stored as reals, as pandas does if some are missing.
    whole = bool((np.abs(present) < 2**53).all() and (present == np.floor(present)).all())
    return Kind.INTEGER if whole else Kind.CONTINUOUS


def _number(
    name: str, data: ColumnData, kind: Kind, nullable: bool, override: ColumnOverride
) -> Column:
    present = data.present()
    whole = present.dtype.kind != "f"
    if kind is Kind.INTEGER and not whole:
        present = _as_whole(name, present)
    if kind is Kind.CONTINUOUS and whole:
        present = _as_real(name, present)
    if present.dtype.kind == "M":
        present = present.astype(np.int64)
    values, counts = np.unique(present, return_counts=True)
    low, high = values[0].item(), values[-1].item()
    low, high = _bounds(name, kind, low, high, override)
    masses: tuple[float | int, ...] = ()
    if len(values) > MAX_EXACT:
        often = np.argsort(-counts, kind="stable")[:MAX_POINT_MASSES]
        often = often[counts[often] >= max(2, POINT_MASS_SHARE * len(data))]
        masses = tuple(np.sort(values[often]).tolist())
    if override.point_masses is not None:
        masses = _point_masses(name, type(low), low, high, override.point_masses)
    if present.dtype.kind == "i":
        # Python integers, because differences of int64 may overflow.
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
        decimals=0 if whole else _decimals(values, data.arrow_type),
    )


def _as_whole(name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    for odd, needed in (
        (values[values != np.floor(values)], "whole numbers"),
        (values[np.abs(values) >= 2.0**63], "whole numbers of 64 bits"),
    ):
        if len(odd):
            raise SchemaError(f"column {name!r}: kind integer needs {needed}, not {odd[0]}")
    return values.astype(np.int64)


def _as_real(name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    beyond = values[(values < -(2**53)) | (values > 2**53)]
    if len(beyond):
        raise SchemaError(
            f"column {name!r}: kind continuous cannot hold whole numbers beyond 2^53, "
            f"such as {beyond[0]}, exactly"
        )
    return values.astype(np.float64)


def _point_masses(
    name: str,
    number: type[float] | type[int],
    low: float | int,
    high: float | int,
    wanted: Iterable[float | int],
) -> tuple[float | int, ...]:
    for mass in wanted:
        if number(mass) != mass:
            raise SchemaError(
                f"column {name!r}: point mass {mass} in the overrides is not a whole number"
            )
        if not low <= mass <= high:
            raise SchemaError(
                f"column {name!r}: point mass {mass} in the overrides is out of bounds; "
                f"allowed: from {low} to {high}"
            )
    return tuple(sorted({number(mass) for mass in wanted}))


def _bounds(
    name: str, kind: Kind, low: float | int, high: float | int, override: ColumnOverride
) -> tuple[float | int, float | int]:
    """Apply bounds of an override; they may widen the data's range for unseen values, but not cut
    it.
    """

    def written(value: float | int) -> str:
        return str(np.datetime64(int(value), "us")) if kind is Kind.DATETIME else str(value)

    minimum, maximum = (
        _bound(name, kind, key, getattr(override, key)) for key in ("minimum", "maximum")
    )
    if minimum is not None and minimum > low:
        raise SchemaError(
            f"column {name!r}: minimum {written(minimum)} in the overrides is above the "
            f"smallest value, {written(low)}"
        )
    if maximum is not None and maximum < high:
        raise SchemaError(
            f"column {name!r}: maximum {written(maximum)} in the overrides is below the "
            f"largest value, {written(high)}"
        )
    number = type(low)
    return (
        low if minimum is None else number(minimum),
        high if maximum is None else number(maximum),
    )


def _bound(
    name: str, kind: Kind, key: str, bound: float | int | datetime | None
) -> float | int | None:
    """Convert a user's bound to a number of the column."""
    if isinstance(bound, datetime):
        if kind is not Kind.DATETIME:
            raise SchemaError(
                f"column {name!r}: {key} in the overrides is a date, but the column is of kind "
                f"{kind.value}"
            )
        if bound.tzinfo is not None:
            bound = bound.astimezone(UTC).replace(tzinfo=None)
        return int(np.datetime64(bound, "us").astype(np.int64))
    whole = kind is not Kind.CONTINUOUS
    if bound is not None and whole and not -(2**63) <= bound < 2**63:
        raise SchemaError(f"column {name!r}: {key} {bound} in the overrides exceeds 64 bits")
    return bound


def _decimals(values: NDArray[Any], dtype: str) -> int | None:
    """Return the fewest digits behind the point that write every value exactly, if six do.

    Exactness is in the source's precision: single precision's nearest number to 0.1 is written 0.1.
    """
    largest = float(np.abs(values).max())
    for digits in range(MAX_DECIMALS + 1):
        # Beyond this, adjacent reals differ by more than the last digit.
        if largest * 10**digits >= 2.0**53:
            return None
        if not needs_more_digits(values, digits, dtype).any():
            return digits
    return None


def needs_more_digits(values: NDArray[Any], digits: int, dtype: str) -> NDArray[np.bool_]:
    """Return which reals need more than this many digits behind the point, bool [n], in the
    precision of their source's Arrow type.
    """
    precision = {"float": np.float32, "halffloat": np.float16}.get(dtype, np.float64)
    return np.asarray(np.round(values, digits).astype(precision) != values.astype(precision))
