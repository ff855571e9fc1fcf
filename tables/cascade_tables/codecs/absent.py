"""What stands for a value that is not known."""

from __future__ import annotations

from typing import Final


class Absent:
    """The type of `ABSENT`, so that it is told from every value, and prints its name."""

    def __repr__(self) -> str:
        return "ABSENT"


# Stands for a value that is not known, and is to be synthesised. NULL (None) is a value.
ABSENT: Final = Absent()

# Of what stands where there is no value.
HOLES = frozenset((Absent, type(None)))
ABSENT_ONLY = frozenset((Absent,))
