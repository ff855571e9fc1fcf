"""The file that `cascade fit` leaves beside a run: its decisions about the schema, as overrides.

The user can pass it back with `--schema`, for the same table or a newer one, changed or unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime

from cascade_tables.overrides import ColumnOverride, RareRule, RelationOverride, Wish
from cascade_tables.schema import Schema

HEADER = """\
# What was decided about {source}. Change what is wrong, and learn again:
#   cascade fit {source} --schema THIS_FILE
# A relation is found (as it was seen in the rows), declared (it is one, however often it holds) or
# refused (it is none).
"""


def schema_file(
    schema: Schema,
    source: str,
    columns: Mapping[str, ColumnOverride] | None = None,
    relations: Sequence[RelationOverride] = (),
    rule: RareRule | None = None,
) -> str:
    """Return a schema as YAML that `load_overrides`, `load_rare_rule` and `load_relation_overrides`
    read.

    Args:
        schema: the inferred schema.
        source: the name of the table's file.
        columns, relations, rule: the overrides that it was inferred with, which are kept.
    """
    lines = [HEADER.format(source=_comment(source))]
    if rule is not None and rule != RareRule():
        lines.append(f"defaults: {_mapping(asdict(rule))}\n")
    lines[-1] += "columns:"
    lines += _columns(schema, columns or {})
    entries = list(_relations(schema, relations))
    if entries:
        lines += ["relations:", *entries]
    return "\n".join(lines) + "\n"


def _columns(schema: Schema, overrides: Mapping[str, ColumnOverride]) -> Iterator[str]:
    for column in schema.columns:
        yield _entry(column.name, {"kind": column.kind.value} | _given(overrides, column.name))
    for dropped in schema.dropped:
        if given := _given(overrides, dropped.name):
            yield _entry(dropped.name, given)
        else:
            yield f"  # {_text(dropped.name)} is left out: {_comment(dropped.reason)}"


def _relations(schema: Schema, overrides: Sequence[RelationOverride]) -> Iterator[str]:
    for relation in schema.relations:
        wish = Wish.DECLARED if relation.declared else Wish.FOUND
        yield f"  {_text(str(relation.formula))}: {wish}  # {relation.describe()}"
    for override in overrides:
        if override.wish is Wish.REFUSED:
            yield f"  {_text(str(override.formula))}: {override.wish}"


def _given(overrides: Mapping[str, ColumnOverride], name: str) -> dict[str, object]:
    """Return the entries of a user's override, without defaults."""
    override, untold = overrides.get(name, ColumnOverride()), ColumnOverride()
    given = {field.name: getattr(override, field.name) for field in fields(override)}
    return {key: value for key, value in given.items() if value != getattr(untold, key)}


def _entry(name: str, given: Mapping[str, object]) -> str:
    return f"  {_text(name)}: {_mapping(given)}"


def _mapping(given: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{key}: {_text(value)}" for key, value in given.items()) + "}"


def _text(value: object) -> str:
    """Format a value as JSON, which is valid YAML; a date-time as in YAML, which JSON lacks.

    JSON writes an emoji as two surrogates, which YAML does not support, and leaves some characters
    unescaped that YAML takes for blanks or refuses.
    """
    if isinstance(value, datetime):
        return value.isoformat()
    text = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in text)


def _comment(text: str) -> str:
    """Make text safe for the inside of a comment."""
    return text if text.isprintable() else repr(text)
