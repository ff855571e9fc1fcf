"""What was found while a file was read: said to whoever has it read, and kept with the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cascade_tables.errors import LONGEST_VALUE, listing, shown
from cascade_tables.files.forms import Form

# Of a column's odd cells, so many are named.
NAMED = 3


@dataclass(frozen=True)
class Misfits:
    """Cells of one column that are not written as its others are.

    Attributes:
        column: its name.
        form: how the others are written.
        count: how many.
        present: cells of the column that are not NULL, these too.
        values: some of them, each once.
        places: where the first are, such as "line 9".
    """

    column: str
    form: str
    count: int
    present: int
    values: tuple[str, ...]
    places: tuple[str, ...]

    @property
    def share(self) -> float:
        return self.count / max(1, self.present)

    def describe(self) -> str:
        """Which cells, how many, and where."""
        values = ", ".join(map(shown, self.values))
        places = ", ".join(self.places) + (", …" if self.count > len(self.places) else "")
        return (
            f"{self.count:,} of {self.present:,} cells ({percent(self.share)}): {values} ({places})"
        )


def percent(share: float) -> str:
    """A share as a person writes it; never 0 or 100 % where it is not."""
    if share and share < 0.001:
        return "under .1 %"
    rounded = min(99.9, 100 * share) if share < 1 else 100.0
    return f"{rounded:.2g} %" if rounded < 10 else f"{rounded:.3g} %"


@dataclass(frozen=True)
class Findings:
    """What is to be said of files that were read.

    Attributes:
        forms: how the cells of each column are written; none for files that have types.
        odd: cells that count as NULL, since they are not written as their column's others are.
        as_text: columns that are text, though most of their cells can be read as something else.
        left_out: columns that were not read, and why.
        notes: anything else.
    """

    forms: Mapping[str, Form] = field(default_factory=dict)
    odd: tuple[Misfits, ...] = ()
    as_text: tuple[Misfits, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Everything but the usual, as lines of text; empty where all is as anybody expects."""
        lines: list[str] = []
        unusual = {name: form for name, form in self.forms.items() if not form.is_usual}
        if unusual:
            lines += ["", "read as:"]
            lines += [f"  {_cut(name)}: {form.describe()}" for name, form in unusual.items()]
        if self.odd:
            lines += ["", "odd cells, which count as NULL:"]
            lines += [
                f"  {_cut(each.column)}: {each.describe()} are not {each.form}" for each in self.odd
            ]
        if self.as_text:
            lines += ["", "text, though most cells are something else:"]
            for each in self.as_text:
                lines.append(
                    f"  {_cut(each.column)}: {each.describe()} are not {each.form}; to count them "
                    f"as NULL, say null_values: [{listing(map(shown, each.values))}] or a kind "
                    "for it in the file of --schema"
                )
        if self.notes:
            lines += ["", *self.notes]
        return "\n".join(lines)


def _cut(name: str) -> str:
    return name if name.isprintable() and len(name) <= LONGEST_VALUE else shown(name)


def misfits_of(
    column: str, form: Form, count: int, present: int, values: Sequence[str], places: Sequence[str]
) -> Misfits:
    """Some of a column's odd cells, each value once."""
    named = tuple(dict.fromkeys(values))[:NAMED]
    return Misfits(column, form.describe(), count, present, named, tuple(places[:NAMED]))
