"""The caller that the current task works for."""

from __future__ import annotations

from contextvars import ContextVar

from cascade_server.access.grants import ANYBODY, Caller

_ASKING: ContextVar[Caller] = ContextVar("asking", default=ANYBODY)


def asking() -> Caller:
    """Return the caller of the call that this task handles.

    It is `ANYBODY` if access is not configured, and in the server's own tasks.
    """
    return _ASKING.get()


def asks(caller: Caller) -> None:
    """Make this task, and those it starts, work for a caller."""
    _ASKING.set(caller)
