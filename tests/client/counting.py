"""How often values are compared: what takes longer and longer shows there, on any machine."""

from __future__ import annotations

from typing import ClassVar


class Compared(str):
    """Text that counts, in all, how often it is compared with other text."""

    times: ClassVar[int] = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


def compared(prefix: str, count: int) -> list[str]:
    """So many texts, none like another; counting begins anew."""
    Compared.times = 0
    return [Compared(f"{prefix}{number}") for number in range(count)]
