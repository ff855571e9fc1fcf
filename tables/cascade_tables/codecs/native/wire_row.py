"""One row as a caller sent it, read directly from its bytes, or else parsed like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class WireRow(Mapping[str, list[Any]]):
    """The columns of a message's `Rows` with one row.

    The compiled codec takes the bytes. Other code sees the mapping returned by `read`, which is
    called on first use.

    Attributes:
        message: bytes that contain the row.
        begin, size: offset of its `Rows`, and its length.

    Args:
        read: returns the values by column, a list of one each.
    """

    __slots__ = ("_read", "_values", "begin", "message", "size")

    def __init__(
        self, message: bytes, begin: int, size: int, read: Callable[[], Mapping[str, list[Any]]]
    ) -> None:
        self.message, self.begin, self.size = message, begin, size
        self._read = read
        self._values: Mapping[str, list[Any]] | None = None

    def _found(self) -> Mapping[str, list[Any]]:
        if self._values is None:
            self._values = self._read()
        return self._values

    def __getitem__(self, name: str) -> list[Any]:
        return self._found()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())

    def __contains__(self, name: object) -> bool:
        return name in self._found()
