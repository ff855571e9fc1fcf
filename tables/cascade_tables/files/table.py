"""What reading files gives: rows, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cascade_tables.files.findings import Findings
from cascade_tables.frame import Frame
from cascade_tables.overrides import ColumnOverride


def _by_number(rows: Sequence[int]) -> list[str]:
    return [f"row {row + 1:,}" for row in rows]


@dataclass(frozen=True)
class Table:
    """Rows of one file or several, read.

    Attributes:
        frame: the rows.
        findings: what is to be said of them.
        overrides: a person's corrections, by the names that the columns have now.
        places: where rows of these numbers are in the files, as "line 9".
    """

    frame: Frame
    findings: Findings = field(default_factory=Findings)
    overrides: Mapping[str, ColumnOverride] = field(default_factory=dict)
    places: Callable[[Sequence[int]], list[str]] = _by_number
