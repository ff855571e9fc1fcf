"""A large message that is sent from where it lies in memory."""

from __future__ import annotations

from collections.abc import Sequence


class Parts:
    """A message in several places of memory; a handler answers with it instead of with bytes.

    This server's transport hands the parts to the system as they are. grpcio's wants them in one
    place, which `bytes`, as a handler's `response_serializer`, gives it. For small messages it is
    not worth while.

    Args:
        head: what the message begins with, some bytes.
        rest: what follows; nobody may change it later.
    """

    __slots__ = ("head", "rest")

    def __init__(self, head: bytes, rest: Sequence[memoryview]) -> None:
        self.head, self.rest = head, tuple(part for part in rest if len(part))

    def __len__(self) -> int:
        return len(self.head) + sum(map(len, self.rest))

    def __bytes__(self) -> bytes:
        return b"".join((self.head, *self.rest))
