"""Columns of categories: which are learnt one by one, which fold, and which are kept nowhere.

A network has a token for each category that is frequent; the others share some (see
`codecs.columns.folded`). Those that fewer rows have than `min_count` may be people's names, so that
nothing keeps them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cascade_tables.errors import DataError, SchemaError, shown
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.overrides import ColumnOverride, Rare, RareRule
from cascade_tables.schema import Column, Kind, Schema, short_label

# A column with more categories than this folds the rarer ones.
MAX_CATEGORIES = 128
# A column that folds categories which answers may have groups them: one token for a group beside so
# many for single categories, a quarter of them all.
KEPT_A_GROUP = 3


def as_text(values: NDArray[Any]) -> list[str]:
    """Categories of a column whose source may hold other things than text."""
    return [value if isinstance(value, str) else str(value) for value in values.tolist()]


def category_counts(data: ColumnData) -> Counter[str]:
    """How often each category of a column is in its table."""
    return Counter(as_text(data.present()) if data.counts is None else data.counts)


def categorical(
    name: str, data: ColumnData, nullable: bool, override: ColumnOverride, rule: RareRule
) -> Column:
    """The column that values are, as categories.

    Args:
        name, data: of the column.
        nullable: whether it may be NULL.
        override: what a person decided otherwise.
        rule: what becomes of its rare categories.

    Raises:
        DataError: text that UTF-8 cannot hold.
        SchemaError: the label for rare categories is one of those that answers may have.
    """
    counts = category_counts(data)
    check_text(name, [*counts, override.other or ""])
    ordered = sorted(counts)
    ordered.sort(key=counts.__getitem__, reverse=True)
    most = override.max_categories or MAX_CATEGORIES
    often = sum(count >= rule.min_count for count in counts.values())
    folds = often < len(ordered) or len(ordered) > most
    is_drawn = rule.rare is Rare.DRAW
    keep = min(often, most - 1) if folds else len(ordered)
    if folds and is_drawn and often >= most:
        keep = most - max(1, most // (KEPT_A_GROUP + 1))
    # What answers may have.
    answers = set(ordered[: often if is_drawn else keep])
    other = override.other
    if folds and other is None:
        other = _free_label(answers)
    if other in answers:
        raise SchemaError(
            f"column {name!r}: the label for rare categories, {other!r}, is itself a category"
        )
    # The text of numbers and booleans can be read back as such, a label or a date-time cannot.
    textual = other is not None or data.values.dtype.kind == "M"
    return Column(
        name,
        Kind.CATEGORICAL,
        nullable,
        "string" if textual else data.arrow_type,
        categories=tuple(ordered[:keep]),
        other=other,
        min_count=rule.min_count if is_drawn and other is not None else None,
    )


def groups_of(column: Column) -> int:
    """In how many groups, at most, a column's folded categories are learnt."""
    return max(1, len(column.categories) // KEPT_A_GROUP)


def _free_label(taken: Container[str]) -> str:
    label = "(other)"
    while label in taken:
        label = f"({label})"
    return label


def rule_of(override: ColumnOverride, rule: RareRule) -> RareRule:
    """What becomes of a column's rare categories, where all columns have a rule."""
    min_count = override.min_count
    return RareRule(override.rare or rule.rare, rule.min_count if min_count is None else min_count)


def all_rare(column: Column, data: ColumnData, min_count: int) -> str:
    """Why there is nothing to learn of a column that has no category to keep, nor NULL."""
    if column.kind is not Kind.CATEGORICAL or column.categories or data.null.any():
        return ""
    distinct = len(category_counts(data))
    return f"rare values: none of its {distinct:,} is in {min_count:,} rows or more (min_count)"


def check_text(name: str, texts: Iterable[str]) -> None:
    """Refuse lone surrogates, which no file, message or terminal takes."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise DataError(
                f"column {name!r}: {shown(text)} is not allowed; allowed: text that UTF-8 can hold"
            ) from exc


@dataclass(frozen=True)
class Folding:
    """What became of a column's rare categories.

    Attributes:
        column: whose.
        share: of all rows, those that have one of them.
        categories: how many there are.
        answered: how many of them answers have, in place of the label.
        dropped: how many are kept nowhere.
        dropped_share: of all rows, those that have one of these.
    """

    column: Column
    share: float
    categories: int
    answered: int
    dropped: int
    dropped_share: float

    def describe(self) -> str:
        """For who decides whether that is as it should be."""
        label, least = repr(self.column.other), self.column.min_count
        count = f"{self.categories:,} rare {'category' if self.categories == 1 else 'categories'}"
        groups = min(self.answered, groups_of(self.column))
        learnt = f"as {label}" if groups < 2 else f"in up to {groups:,} groups that are alike"
        said = f"{count} ({self.share:.1%} of rows) learnt {learnt}; "
        if least is None:
            return said + f"answers have {label} (rare: keep_folded), no release has their names"
        if not self.answered:
            return said + (
                f"each in fewer than {least:,} rows, so that answers have {label} and no release "
                "has their names"
            )
        said += f"answers have one of {self.answered:,} of them, by how often each was seen"
        if self.dropped:
            said += (
                f"; {self.dropped:,} in fewer than {least:,} rows ({self.dropped_share:.1%} of "
                "rows) are in no answer and no release"
            )
        return said


def foldings(schema: Schema, frame: Frame) -> Iterator[Folding]:
    """What became of rare categories, of each column that has some."""
    for column in schema.columns:
        if column.other is None:
            continue
        data = frame[column.name]
        counts = category_counts(data)
        # Of a sample's column the counts are of all rows, and how many are NULL is estimated.
        rows = counts.total() / (1 - float(data.null.mean())) if counts else 0
        for kept in column.categories:
            counts.pop(kept, None)
        if not counts:
            continue
        least = column.min_count
        dropped = [count for count in counts.values() if least is None or count < least]
        yield Folding(
            column,
            counts.total() / rows,
            len(counts),
            len(counts) - len(dropped),
            len(dropped),
            sum(dropped) / rows,
        )


def describe_foldings(found: Iterable[Folding]) -> str:
    """What became of rare categories, a line a column; empty: there are none."""
    lines = [f"  {short_label(each.column.name)}: {each.describe()}" for each in found]
    if not lines:
        return ""
    hint = "rare and min_count in the file of --schema say what becomes of them"
    return "\n".join(["", "rare categories:", *lines, hint])
