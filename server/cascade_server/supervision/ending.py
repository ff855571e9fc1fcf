"""How a process ends what it is made of."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger("cascade.server")


async def all_end(*ends: Callable[[], Awaitable[object]]) -> None:
    """End one thing after another, whatever any of them raises, which is logged: those that come
    later may have to save what all have counted.

    Args:
        ends: what ends each.
    """
    for end in ends:
        try:
            await end()
        except Exception:  # of anything that is ended: counts would be lost behind it
            log.exception("something did not end as it should")
