"""Whether to sleep at once when there is nothing to do, or to look a little longer.

A process that sleeps is woken by an interrupt; on a virtual machine that takes some 50 µs, an
eighth of a call. Who asks one call at a time sends the next as soon as it has its answer. As a
hypervisor does with a processor that has halted (KVM's halt_poll_ns), the event loop then asks the
system again and again. Where calls come by chance it sleeps: looking would often be for nothing,
and take the processor from the teacher.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from cascade_server.config import ServerConfig


@dataclass(frozen=True)
class LingerConfig:
    """How long the event loop may look, and when.

    Attributes:
        most: seconds after the last work; 0: it sleeps at once.
        share: of the gaps between work and the next bytes that have to be so short.
        keep: of the share so far, at each new gap.
    """

    most: float = ServerConfig.linger_seconds
    share: float = 0.8
    keep: float = 15 / 16


def after_gap(share: float, gap: float, config: LingerConfig) -> float:
    """The share of short gaps, the newest ones counting most, after one of `gap` seconds."""
    return share * config.keep + (gap <= config.most) * (1 - config.keep)


class Linger:
    """Keeps an event loop awake.

    Args:
        config: for how long.
        soon: has something called once the loop has asked the system again; `loop.call_soon`.
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
        """Bytes have come, and what is to be done for them is in the loop's queue."""
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
            # What was heard is done later in this turn of the loop.
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
