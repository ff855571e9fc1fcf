"""Decides whose budget is charged for a call that was refused before its message was read.

An overloaded server refuses calls at their headers, but the table is in the message. Calls that
also name it in a header are counted exactly. Every other call counts as one of the last calls that
were read, which take turns. So every refusal is counted once. With one table, all refusals are that
table's; with several, each table's share is right to within one call per turn.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, TypeAlias

import grpc

from cascade_server.terms import ServiceClass

# Calls that are remembered; at thousands a second, these are the calls of a fraction of a second.
LAST = 256

Key = tuple[str, ServiceClass]
# What is known of a call that was not read: the table and class in its headers. Without a table in
# the headers, the table is None. The class is then what calls to the method count as until they
# have been read, or offline if the caller has low priority.
Asked: TypeAlias = tuple[str | None, ServiceClass]


class Run(NamedTuple):
    """Consecutive calls that were refused unread and are alike.

    Attributes:
        asked: what their headers say; the same object for all, so that comparing takes no time.
        code: their status.
        given: seconds of each call from its arrival to its deadline.
    """

    asked: Asked
    code: grpc.StatusCode
    given: list[float]


class RecentlyAsked:
    """Tables and classes of the last calls of a method that were read, for calls that were not.

    Args:
        tables: the served tables, which take turns until the first call has been read.
        service: what their calls count as until then.
    """

    def __init__(self, tables: Collection[str], service: ServiceClass) -> None:
        self._asked: list[Key] = [(table, service) for table in sorted(tables)]
        self._is_guess = True
        self._newest = self._turn = -1

    def add(self, key: Key) -> None:
        """Add a call that has been read."""
        if self._is_guess:
            self._is_guess = False
            self._asked.clear()
        if len(self._asked) < LAST:
            self._asked.append(key)
            return
        self._newest = (self._newest + 1) % LAST
        self._asked[self._newest] = key

    def next(self) -> Key | None:
        """Return what an unread call counts as; None if there is no table."""
        if not self._asked:
            return None
        self._turn = (self._turn + 1) % len(self._asked)
        return self._asked[self._turn]
