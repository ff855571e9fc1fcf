"""Checks of a column's fields that were read from a file.

An inferred schema is valid. One from a release may be damaged or malicious: its fields determine
sizes of tables, scales of numbers and bounds of loops, so invalid ones are refused by name before
use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any, TypeAlias

from cascade_tables.errors import SchemaError, repeated, shown
from cascade_tables.infer import MAX_DECIMALS
from cascade_tables.schema import Column, Kind

# A check of a field, and the description of allowed values for messages.
Allowed: TypeAlias = tuple[Callable[[Any], bool], str]


def is_real(value: Any) -> bool:
    """Return whether it is a finite 64-bit number and no boolean."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def is_whole(value: Any) -> bool:
    """Return whether it is a 64-bit integer and no boolean."""
    return type(value) is int and -(2**63) <= value < 2**63


def number_of(kind: Kind) -> Allowed:
    """Return the check of numbers in a column of this kind."""
    if kind is Kind.CONTINUOUS:
        return is_real, "a finite number"
    return is_whole, "a whole number of 64 bits"


def are_increasing(values: Any, kind: Kind, strictly: bool = True) -> bool:
    """Return whether it is an increasing sequence of a column's numbers, strictly or not."""
    if not isinstance(values, list | tuple) or not all(map(number_of(kind)[0], values)):
        return False
    return all(low < high if strictly else low <= high for low, high in pairwise(values))


def are_reals(values: Any) -> bool:
    """Return whether it is a sequence of finite numbers."""
    return isinstance(values, list | tuple) and all(map(is_real, values))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_categories(value: Sequence[Any]) -> bool:
    return all(map(_is_text, value)) and not repeated(value)


def _nothing(value: Any) -> bool:
    return not value and value in (None, ())


NOTHING: Allowed = (_nothing, "nothing, in a column of this kind")
# Difference between the lowest and the highest 64-bit integer.
MOST_STEP = 2**64 - 1
COUNT: Allowed = (
    lambda value: value is None or (is_whole(value) and value >= 1),
    "a whole number from 1, or null",
)
# Checks for columns of every kind.
ALWAYS: dict[str, Allowed] = {
    "name": (_is_text, "text"),
    "nullable": (lambda value: type(value) is bool, "true or false"),
    "dtype": (_is_text, "text"),
    "min_count": COUNT,
    "decimals": (
        lambda value: value is None or (is_whole(value) and 0 <= value <= MAX_DECIMALS),
        f"a whole number from 0 to {MAX_DECIMALS}, or null",
    ),
    "step": (
        lambda value: value is None or (type(value) is int and 1 <= value <= MOST_STEP),
        f"a whole number from 1 to {MOST_STEP}, or null",
    ),
}


def _of_kind(kind: Kind) -> dict[str, Allowed]:
    if kind.is_number:
        masses = (lambda value: are_increasing(value, kind)), "increasing numbers of the column's"
        number = number_of(kind)
        return {"minimum": number, "maximum": number, "point_masses": masses} | dict.fromkeys(
            ("categories", "other"), NOTHING
        )
    unordered = dict.fromkeys(("minimum", "maximum", "point_masses"), NOTHING)
    if kind is Kind.BOOLEAN:
        return unordered | dict.fromkeys(("categories", "other"), NOTHING)
    return unordered | {
        "categories": (_are_categories, "texts, each once"),
        "other": (lambda value: value is None or _is_text(value), "text or null"),
    }


def check_column(column: Column) -> None:
    """Refuse a column with invalid fields.

    Args:
        column: of any content, except for its kind.

    Raises:
        SchemaError: names the column, the field, its value and what is allowed.
    """
    allowed = ALWAYS | _of_kind(column.kind)
    for each in fields(column):
        if each.name in allowed:
            value = getattr(column, each.name)
            is_allowed, said = allowed[each.name]
            if not is_allowed(value):
                raise SchemaError(
                    f"column {shown(column.name)}: its {each.name} is {shown(value)}; allowed: "
                    f"{said}"
                )
    low, high = column.minimum, column.maximum
    if low is not None and high is not None and low > high:
        raise SchemaError(
            f"column {shown(column.name)}: its minimum {low} is above its maximum {high}"
        )
    if column.kind is Kind.CATEGORICAL:
        if column.other in column.categories:
            raise SchemaError(
                f"column {shown(column.name)}: {shown(column.other)} is both one of its categories "
                "and the label that others fold into"
            )
        if not column.categories and column.other is None:
            raise SchemaError(f"column {shown(column.name)} has no categories; allowed: at least 1")
