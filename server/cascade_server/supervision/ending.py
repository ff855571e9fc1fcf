"""Ends the parts of a process."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger("cascade.server")


async def all_end(*ends: Callable[[], Awaitable[object]]) -> None:
    """End one part after another, and log any errors: later parts may have to save all counts.

    Args:
        ends: functions that end one part each.
    """
    for end in ends:
        try:
            await end()
        except Exception:  # of anything that is ended: counts would be lost behind it
            log.exception("something did not end as it should")
