"""Categorical columns: which categories are learnt individually, which fold, and which are
discarded.

A network has a token for each frequent category; the others share some (see
`codecs.columns.folded`). Categories that fewer than `min_count` rows have may be people's names, so
they are stored nowhere.
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
# Individual categories per group token in a column that folds categories which answers may have: a
# quarter of its tokens are for groups.
KEPT_A_GROUP = 3


def as_text(values: NDArray[Any]) -> list[str]:
    """Return categories as text; their source may have another type."""
    return [value if isinstance(value, str) else str(value) for value in values.tolist()]


def category_counts(data: ColumnData) -> Counter[str]:
    """Return how often each category of a column occurs in its table."""
    return Counter(as_text(data.present()) if data.counts is None else data.counts)


def categorical(
    name: str, data: ColumnData, nullable: bool, override: ColumnOverride, rule: RareRule
) -> Column:
    """Build the categorical column for values.

    Args:
        name, data: of the column.
        nullable: whether it may be NULL.
        override: the user's corrections.
        rule: treatment of its rare categories.

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
    # Categories that answers may have.
    answers = set(ordered[: often if is_drawn else keep])
    other = override.other
    if folds and other is None:
        other = _free_label(answers)
    if other in answers:
        raise SchemaError(
            f"column {name!r}: the label for rare categories, {other!r}, is itself a category"
        )
    # Text of numbers and booleans can be converted back, but a label or a date-time cannot.
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
    """Return the most groups in which a column's folded categories are learnt."""
    return max(1, len(column.categories) // KEPT_A_GROUP)


def _free_label(taken: Container[str]) -> str:
    label = "(other)"
    while label in taken:
        label = f"({label})"
    return label


def rule_of(override: ColumnOverride, rule: RareRule) -> RareRule:
    """Return the rule for a column's rare categories, given the rule for all columns."""
    min_count = override.min_count
    return RareRule(override.rare or rule.rare, rule.min_count if min_count is None else min_count)


def all_rare(column: Column, data: ColumnData, min_count: int) -> str:
    """Return why a column without a category to keep, and without NULL, has nothing to learn."""
    if column.kind is not Kind.CATEGORICAL or column.categories or data.null.any():
        return ""
    distinct = len(category_counts(data))
    return f"rare values: none of its {distinct:,} is in {min_count:,} rows or more (min_count)"


def check_text(name: str, texts: Iterable[str]) -> None:
    """Refuse lone surrogates, which files, messages and terminals cannot hold."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise DataError(
                f"column {name!r}: {shown(text)} is not allowed; allowed: text that UTF-8 can hold"
            ) from exc


@dataclass(frozen=True)
class Folding:
    """Treatment of a column's rare categories.

    Attributes:
        column: its name.
        share: share of all rows with a rare category.
        categories: number of rare categories.
        answered: how many of them answers may contain instead of the label.
        dropped: how many are stored nowhere.
        dropped_share: share of all rows with one of the latter.
    """

    column: Column
    share: float
    categories: int
    answered: int
    dropped: int
    dropped_share: float

    def describe(self) -> str:
        """Describe the treatment for the user, who decides whether it is right."""
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
    """Yield the treatment for each column with rare categories."""
    for column in schema.columns:
        if column.other is None:
            continue
        data = frame[column.name]
        counts = category_counts(data)
        # Counts of a sampled column are of all rows, and its number of NULLs is estimated.
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
    """Describe the treatment of rare categories, one line per column; empty: there are none."""
    lines = [f"  {short_label(each.column.name)}: {each.describe()}" for each in found]
    if not lines:
        return ""
    hint = "rare and min_count in the file of --schema say what becomes of them"
    return "\n".join(["", "rare categories:", *lines, hint])
