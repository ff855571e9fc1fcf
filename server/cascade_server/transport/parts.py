"""A large message that is sent without being copied."""

from __future__ import annotations

from collections.abc import Sequence


class Parts:
    """A message in several places of memory; a handler answers with it instead of with bytes.

    This server's transport hands the parts to the system as they are. grpcio needs them in one
    piece, so its handlers use `bytes` as `response_serializer`. Not worth it for small messages.

    Args:
        head: the first bytes of the message.
        rest: the rest of the message; must not be changed later.
    """

    __slots__ = ("head", "rest")

    def __init__(self, head: bytes, rest: Sequence[memoryview]) -> None:
        self.head, self.rest = head, tuple(part for part in rest if len(part))

    def __len__(self) -> int:
        return len(self.head) + sum(map(len, self.rest))

    def __bytes__(self) -> bytes:
        return b"".join((self.head, *self.rest))
