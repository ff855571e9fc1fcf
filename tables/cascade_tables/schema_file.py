"""The file that `cascade fit` leaves beside a run: what it decided, in the words of overrides.

It is given back with `--schema`, on the same table or on a newer one, after a change or without.
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
    """A schema as YAML that `load_overrides`, `load_rare_rule` and `load_relation_overrides` read.

    Args:
        schema: what was inferred and found.
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
    """What a person's override says, without what it does not say."""
    override, untold = overrides.get(name, ColumnOverride()), ColumnOverride()
    given = {field.name: getattr(override, field.name) for field in fields(override)}
    return {key: value for key, value in given.items() if value != getattr(untold, key)}


def _entry(name: str, given: Mapping[str, object]) -> str:
    return f"  {_text(name)}: {_mapping(given)}"


def _mapping(given: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{key}: {_text(value)}" for key, value in given.items()) + "}"


def _text(value: object) -> str:
    """A value as JSON, which is YAML too; a date-time as YAML has it, which JSON has not.

    JSON writes an emoji as two halves, of which YAML knows nothing, and leaves some characters as
    they are that YAML takes for blanks or refuses.
    """
    if isinstance(value, datetime):
        return value.isoformat()
    text = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in text)


def _comment(text: str) -> str:
    """Text that ends no comment."""
    return text if text.isprintable() else repr(text)
