"""In whose name a task works: set where a call is taken up, asked for where it matters."""

from __future__ import annotations

from contextvars import ContextVar

from cascade_server.access.grants import ANYBODY, Caller

_ASKING: ContextVar[Caller] = ContextVar("asking", default=ANYBODY)


def asking() -> Caller:
    """Who has sent the call that this task handles; `ANYBODY` where access is not configured, and
    in tasks of the server's own."""
    return _ASKING.get()


def asks(caller: Caller) -> None:
    """From now on this task, and those it starts, work for a caller."""
    _ASKING.set(caller)
