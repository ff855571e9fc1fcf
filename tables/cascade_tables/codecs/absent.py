"""The placeholder for an unknown value."""

from __future__ import annotations

from typing import Final


class Absent:
    """Type of `ABSENT`, which differs from every value and prints its name."""

    def __repr__(self) -> str:
        return "ABSENT"


# Stands for an unknown value, which is to be synthesised. NULL (None) is a value.
ABSENT: Final = Absent()

# Types of placeholders without a value.
HOLES = frozenset((Absent, type(None)))
ABSENT_ONLY = frozenset((Absent,))
