"""Whose budget a call spends that was refused before its message was read.

A server that has too much to do refuses calls at their headers, and the table is in the message.
Who sends it in a header too is counted exactly. All others count as what was asked lately: each as
one of the last calls that were read, which take their turns. So every refusal is counted, once; on
a server of one table they are all that table's; and of several tables each has its share to within
a call for every turn.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, TypeAlias

import grpc

from cascade_server.terms import ServiceClass

# Calls that are remembered: at thousands a second, what was asked in the last fraction of one.
LAST = 256

Key = tuple[str, ServiceClass]
# What is known of a call that was not read: the table and the class that its headers say. Where
# they name no table it is None, and the class is what calls to the method count as until they have
# been read, or offline, where whoever asks lets others go first.
Asked: TypeAlias = tuple[str | None, ServiceClass]


class Run(NamedTuple):
    """Calls that were refused one after another, unread, and are alike.

    Attributes:
        asked: what their headers say; the very same object, so that no two have to be compared.
        code: their status.
        given: the seconds that each had from its arrival to its deadline.
    """

    asked: Asked
    code: grpc.StatusCode
    given: list[float]


class RecentlyAsked:
    """The tables and classes of the last calls of a method that were read, for calls that were not.

    Args:
        tables: those that are served: until the first call has been read they take turns.
        service: what their calls count as until then.
    """

    def __init__(self, tables: Collection[str], service: ServiceClass) -> None:
        self._asked: list[Key] = [(table, service) for table in sorted(tables)]
        self._is_guess = True
        self._newest = self._turn = -1

    def add(self, key: Key) -> None:
        """A call has been read."""
        if self._is_guess:
            self._is_guess = False
            self._asked.clear()
        if len(self._asked) < LAST:
            self._asked.append(key)
            return
        self._newest = (self._newest + 1) % LAST
        self._asked[self._newest] = key

    def next(self) -> Key | None:
        """What a call counts as that was not read; None: there is no table."""
        if not self._asked:
            return None
        self._turn = (self._turn + 1) % len(self._asked)
        return self._asked[self._turn]
