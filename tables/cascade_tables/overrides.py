"""A person's corrections to an inferred schema, from a YAML or TOML file.

defaults: {min_count: 10}
columns:
  zip_code: {kind: categorical, max_categories: 200, rare: keep_folded}
  amount: {minimum: 0, point_masses: [0, 9.99]}
  session: {drop: true}
relations:
  after = before + amount: declared
  amount = fee: refused
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from cascade_tables.errors import FileRefused, SchemaError, did_you_mean, listing, shown
from cascade_tables.relation import Formula
from cascade_tables.schema import Kind

SECTIONS = ("defaults", "columns", "relations")
# A category in fewer rows may be a person's name.
MIN_COUNT = 5
# Most tokens of a column; all rows' tokens are stored as 16-bit integers.
MOST_CATEGORIES = 2**15 - 2


class Rare(StrEnum):
    """What an answer contains if a rare category is drawn."""

    # One of the rare categories, by frequency; the label, if none was seen often enough.
    DRAW = "draw"
    # The label.
    KEEP_FOLDED = "keep_folded"


@dataclass(frozen=True)
class RareRule:
    """Treatment of rare categories, unless a column overrides it.

    Attributes:
        rare: what answers contain.
        min_count: fewest rows with a category for it to be kept at all.
    """

    rare: Rare = Rare.DRAW
    min_count: int = MIN_COUNT


@dataclass(frozen=True)
class ColumnOverride:
    """A user's corrections for a column; None: as inferred.

    Attributes:
        kind: how to model it; naming one also keeps a column that looks like an identifier.
        drop: leave it out.
        nullable: whether it may be NULL.
        minimum, maximum: wider bounds than the data's; for date-times a date, a date-time or
            microseconds since 1970.
        point_masses: single values to model on their own.
        max_categories: how many categories to keep before rare ones fold, and the most tokens,
            including those that rare ones share.
        other: the label they fold into.
        rare: what answers contain instead of the label.
        min_count: fewest rows with a category for it to be kept at all; 1: all are.
        null_values: cells that stand for NULL besides the usual ones, in text and numbers.
        dates: what comes first in dates that are text, "day_first" or "month_first".
        decimal_mark: the decimal mark of numbers that are text, "comma" or "point".
    """

    kind: Kind | None = None
    drop: bool = False
    nullable: bool | None = None
    minimum: float | int | datetime | None = None
    maximum: float | int | datetime | None = None
    point_masses: tuple[float | int, ...] | None = None
    max_categories: int | None = None
    other: str | None = None
    rare: Rare | None = None
    min_count: int | None = None
    null_values: tuple[str, ...] | None = None
    dates: str | None = None
    decimal_mark: str | None = None


class Wish(StrEnum):
    """A user's statement about a relation."""

    # The relation as found, with no correction; `cascade fit` writes it into its schema file.
    FOUND = "found"
    # It is a relation, however often it holds.
    DECLARED = "declared"
    # It is not a relation, however often it holds.
    REFUSED = "refused"


@dataclass(frozen=True)
class RelationOverride:
    """A user's correction about an exact relation.

    Attributes:
        formula: the relation.
        wish: the correction.
    """

    formula: Formula
    wish: Wish


def load_overrides(path: Path) -> dict[str, ColumnOverride]:
    """Read the columns of a YAML (.yaml, .yml) or TOML (.toml) file of overrides.

    Raises:
        SchemaError: not such a file, or a key or value that is not allowed; names it.
    """
    columns = _section(path, "columns", "a column's name to what to change about it")
    return {
        str(name): _override(f"{path}: column {shown(name)}", entry)
        for name, entry in columns.items()
    }


def load_rare_rule(path: Path) -> RareRule:
    """Read the rule for rare categories of all columns from a YAML or TOML file of overrides.

    Raises:
        SchemaError: not such a file, or a key or value that is not allowed; names it.
    """
    entry = _section(path, "defaults", "'rare' and 'min_count' to what holds for all columns")
    given = _given(f"{path}: defaults", entry, [field.name for field in fields(RareRule)])
    return RareRule(**given)


def load_relation_overrides(path: Path) -> tuple[RelationOverride, ...]:
    """Read the relations of a YAML or TOML file of overrides.

    Raises:
        SchemaError: not such a file, or an entry that is not allowed or contradicts another one;
            names it.
    """
    wishes = [wish.value for wish in Wish]
    allowed = listing(wishes)
    found: dict[tuple[Any, ...], RelationOverride] = {}
    relations = _section(path, "relations", f"a relation, such as 'a = b + c', to one of {allowed}")
    for text, wish in relations.items():
        try:
            formula = Formula.parse(str(text))
        except SchemaError as exc:
            raise SchemaError(f"{path}: {exc}") from exc
        if not isinstance(wish, str) or wish not in set(Wish):
            near = did_you_mean(wish, wishes) if isinstance(wish, str) else ""
            raise SchemaError(
                f"{path}: relation {shown(text)} is {shown(wish)}; allowed: {allowed}.{near}"
            )
        other = found.setdefault(formula.key, RelationOverride(formula, Wish(wish)))
        if other.wish != wish:
            raise SchemaError(
                f"{path}: relation {shown(text)} is {wish}, but {shown(str(other.formula))}, which "
                f"is the same, is {other.wish}"
            )
    return tuple(found.values())


def _section(path: Path, name: str, maps: str) -> Mapping[Any, Any]:
    """Return a mapping of a file of overrides; empty if the file lacks it."""
    suffix = path.suffix.lower()
    if suffix not in (".toml", ".yaml", ".yml"):
        raise SchemaError(f"{path}: overrides are .yaml, .yml or .toml files")
    from cascade_tables.yaml_files import load_yaml, read_text  # few programs need PyYAML

    try:
        content = tomllib.loads(read_text(path)) if suffix == ".toml" else load_yaml(path)
    except FileRefused as exc:
        raise SchemaError(str(exc)) from exc
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise SchemaError(f"{path}: {exc}") from exc
    if not isinstance(content, Mapping) or not content or not set(content) <= set(SECTIONS):
        instead = ""
        if not isinstance(content, Mapping):
            instead = f", not {shown(content)}"
        elif odd := [key for key in content if key not in SECTIONS]:
            instead = f", not {shown(odd[0])}"
        raise SchemaError(
            f"{path}: expected the keys 'columns', with an entry a column, 'relations', with an "
            f"entry a relation, and 'defaults', for all columns, or some of them{instead}"
        )
    section = content.get(name) or {}
    if not isinstance(section, Mapping):
        raise SchemaError(f"{path}: {name!r} maps {maps}")
    return section


def _is_number(value: Any) -> bool:
    """Return whether a value is a finite number in the range of 64-bit floats."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def _is_bound(value: Any) -> bool:
    return _is_number(value) or isinstance(value, date)


# Check of each key's value, and its description for messages.
ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "kind": (lambda v: isinstance(v, str) and v in set(Kind), "one of " + ", ".join(Kind)),
    "drop": (lambda v: isinstance(v, bool), "true or false"),
    "nullable": (lambda v: isinstance(v, bool), "true or false"),
    "minimum": (_is_bound, "a finite number, or a date"),
    "maximum": (_is_bound, "a finite number, or a date"),
    "point_masses": (
        lambda v: isinstance(v, list) and all(map(_is_number, v)),
        "a list of finite numbers",
    ),
    "max_categories": (
        lambda v: type(v) is int and 2 <= v <= MOST_CATEGORIES,
        f"a whole number from 2 to {MOST_CATEGORIES:,}",
    ),
    "rare": (lambda v: isinstance(v, str) and v in set(Rare), "one of " + ", ".join(Rare)),
    "min_count": (lambda v: type(v) is int and v >= 1, "a whole number, at least 1"),
    "null_values": (
        lambda v: isinstance(v, list) and all(isinstance(e, str) or _is_number(e) for e in v),
        "a list of texts and finite numbers, such as ['?', -999]",
    ),
    "dates": (lambda v: v in ("day_first", "month_first"), "day_first or month_first"),
    "decimal_mark": (lambda v: v in ("comma", "point"), "comma or point"),
    "other": (lambda v: isinstance(v, str) and v != "", "a label that is not empty"),
}


def _override(where: str, entry: Any) -> ColumnOverride:
    if not isinstance(entry, Mapping):
        raise SchemaError(f"{where}: expected keys such as kind or drop, not {shown(entry)}")
    values = _given(where, entry, [field.name for field in fields(ColumnOverride)])
    return ColumnOverride(**values)


# Type of each text entry, by key.
WORDS: Mapping[str, type[StrEnum]] = {"kind": Kind, "rare": Rare}


def _given(where: str, entry: Mapping[Any, Any], known: Sequence[str]) -> dict[str, Any]:
    """Return the checked keys and values of a mapping."""
    from cascade_tables.yaml_files import boolean

    values: dict[str, Any] = {}
    for key, value in entry.items():
        if key not in known:
            raise SchemaError(f"{where}: unknown key {shown(key)}; allowed: {listing(known)}")
        if key in ("drop", "nullable"):
            value = boolean(value)
        is_allowed, allowed = ALLOWED[key]
        if not is_allowed(value):
            raise SchemaError(f"{where}: {key} is {shown(value)}; allowed: {allowed}")
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        values[key] = WORDS[key](value) if key in WORDS else value
    if "point_masses" in values:
        values["point_masses"] = tuple(values["point_masses"])
    if "null_values" in values:
        values["null_values"] = tuple(map(str, values["null_values"]))
    return values
