"""Keeps an idle event loop polling briefly before it sleeps, if the next call is likely soon.

Waking a sleeping process takes an interrupt: some 50 µs on a virtual machine, an eighth of a call.
A caller that makes one call at a time sends the next as soon as it has its answer. So the event
loop polls for a while, as a hypervisor does before it halts a processor (KVM's halt_poll_ns). If
calls arrive at random it sleeps at once: polling would mostly be wasted, and would take processor
time from the teacher.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from cascade_server.config import ServerConfig


@dataclass(frozen=True)
class LingerConfig:
    """How long the event loop polls, and when.

    Attributes:
        most: seconds of polling after the last work; 0: never poll.
        share: poll only if this share of recent gaps between work and the next bytes was at most
            `most` long.
        keep: weight of earlier gaps in that share when a new one is added.
    """

    most: float = ServerConfig.linger_seconds
    share: float = 0.8
    keep: float = 15 / 16


def after_gap(share: float, gap: float, config: LingerConfig) -> float:
    """Update the share of short gaps with one of `gap` seconds; newer gaps weigh more."""
    return share * config.keep + (gap <= config.most) * (1 - config.keep)


class Linger:
    """Keeps an event loop polling while that pays off.

    Args:
        config: how long and when to poll.
        soon: calls a function in the loop's next turn; None: the running loop's `call_soon`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: LingerConfig,
        soon: Callable[[Callable[[], None]], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._clock = config, clock
        self._soon = soon or asyncio.get_running_loop().call_soon
        self._share = 0.0
        self._idle_since: float | None = None
        self._looks = self._heard = False

    def heard(self) -> None:
        """Note that bytes have arrived, and that the work for them is in the loop's queue."""
        if not self._config.most:
            return
        if self._idle_since is not None:
            self._share = after_gap(self._share, self._clock() - self._idle_since, self._config)
            self._idle_since = None
        self._heard = True
        if not self._looks:
            self._looks = True
            self._soon(self._look)

    def _look(self) -> None:
        if self._heard:
            # The work for these bytes runs later in this turn, and idling begins after it.
            self._heard = False
            self._soon(self._look)
            return
        now = self._clock()
        if self._idle_since is None:
            self._idle_since = now
        pays = self._share >= self._config.share
        self._looks = pays and now - self._idle_since < self._config.most
        if self._looks:
            self._soon(self._look)
