"""Findings of reading a file, which are shown to the user and kept with the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cascade_tables.errors import LONGEST_VALUE, listing, shown
from cascade_tables.files.forms import Form

# Odd cells of a column that are named.
NAMED = 3


@dataclass(frozen=True)
class Misfits:
    """Cells of one column that are written differently from the others.

    Attributes:
        column: its name.
        form: how the others are written.
        count: number of such cells.
        present: cells of the column that are not NULL, including these.
        values: some of them, each once.
        places: locations of the first ones, such as "line 9".
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
        """Describe which cells, how many, and where."""
        values = ", ".join(map(shown, self.values))
        places = ", ".join(self.places) + (", …" if self.count > len(self.places) else "")
        return (
            f"{self.count:,} of {self.present:,} cells ({percent(self.share)}): {values} ({places})"
        )


def percent(share: float) -> str:
    """Format a share; never 0 or 100 % unless it is exact."""
    if share and share < 0.001:
        return "under .1 %"
    rounded = min(99.9, 100 * share) if share < 1 else 100.0
    return f"{rounded:.2g} %" if rounded < 10 else f"{rounded:.3g} %"


@dataclass(frozen=True)
class Findings:
    """Findings about files.

    Attributes:
        forms: how the cells of each column are written; empty for typed files.
        odd: cells that count as NULL, because they are written differently from their column's
            others.
        as_text: columns that are text, although most of their cells can be read as something else.
        left_out: columns that were not read, and why.
        notes: anything else.
    """

    forms: Mapping[str, Form] = field(default_factory=dict)
    odd: tuple[Misfits, ...] = ()
    as_text: tuple[Misfits, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return everything unusual as lines of text; empty if there is nothing."""
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
    """Collect some of a column's odd cells, each value once."""
    named = tuple(dict.fromkeys(values))[:NAMED]
    return Misfits(column, form.describe(), count, present, named, tuple(places[:NAMED]))
