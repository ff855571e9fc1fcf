"""Rate limits and byte limits; callers pass in the time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cascade_server.transport.http2.frames import Broken, Code
from cascade_server.transport.http2.limits import Rate, TransportLimits


class Bucket:
    """A token bucket of one connection, refilled by time and by use.

    Args:
        what: what is counted, for the error message.
        rate: the burst, and the rates of refilling.
        now: monotonic seconds.
    """

    __slots__ = ("_rate", "_since", "_tokens", "_use", "_what")

    def __init__(self, what: str, rate: Rate, now: float) -> None:
        self._what, self._rate = what, rate
        self._tokens, self._since, self._use = rate.burst, now, 0

    def spend(self, now: float, use: int) -> None:
        """Take a token.

        Args:
            now: monotonic seconds.
            use: number of signs of use of the connection so far.

        Raises:
            Broken: the bucket is empty.
        """
        rate = self._rate
        earned = (now - self._since) * rate.per_second + (use - self._use) * rate.per_use
        self._tokens = min(rate.burst, self._tokens + earned) - 1
        self._since, self._use = now, use
        if self._tokens < 0:
            raise Broken(
                Code.ENHANCE_YOUR_CALM,
                f"too many {self._what}: {rate.burst:g} at once and {rate.per_second:g} a second "
                "are allowed",
            )


class Budgets:
    """All buckets of one connection; `TransportLimits` describes what each limits.

    Args:
        limits: the rates of the buckets.
        now: monotonic seconds.
    """

    __slots__ = (
        "empty",
        "faults",
        "late_resets",
        "pings",
        "priorities",
        "refused",
        "resets",
        "settings",
        "unknown",
        "updates",
    )

    def __init__(self, limits: TransportLimits, now: float) -> None:
        self.resets = Bucket("calls taken back", limits.resets, now)
        self.late_resets = Bucket("resets of calls that are over", limits.late_resets, now)
        self.faults = Bucket("faulty calls", limits.faults, now)
        self.refused = Bucket("calls beyond the limit", limits.refused_streams, now)
        self.settings = Bucket("SETTINGS", limits.settings, now)
        self.pings = Bucket("PINGs", limits.pings, now)
        self.priorities = Bucket("PRIORITYs", limits.priorities, now)
        self.updates = Bucket("WINDOW_UPDATEs", limits.window_updates, now)
        self.empty = Bucket("DATA frames without data", limits.empty_frames, now)
        self.unknown = Bucket("frames that say nothing", limits.unknown_frames, now)


class Held:
    """A count of held bytes, with a limit.

    Args:
        most: most bytes that may be held.
        whole: the larger count that this one is part of; None: none.

    Attributes:
        size: bytes held now.
    """

    __slots__ = ("_most", "_whole", "size")

    def __init__(self, most: int, whole: Held | None = None) -> None:
        self._most, self._whole = most, whole
        self.size = 0

    def take(self, size: int) -> bool:
        """Count `size` more bytes if allowed; the first item of a part may exceed its limit."""
        if self._whole is None:
            if self.size + size > self._most:
                return False
        elif (self.size and self.size + size > self._most) or not self._whole.take(size):
            return False
        self.size += size
        return True

    def give(self, size: int) -> None:
        """Stop counting `size` bytes."""
        self.size -= size
        if self._whole is not None:
            self._whole.give(size)


class Inflation:
    """Spreads the inflating of messages over turns, so that other work runs in between.

    Args:
        most: inflated bytes per turn of the event loop; one message may be larger.
        soon: calls a function in the loop's next turn, as `loop.call_soon`.
    """

    def __init__(self, most: int, soon: Callable[[Callable[[], None]], object]) -> None:
        self._most, self._soon = most, soon
        self._spent = 0

    @property
    def pauses(self) -> bool:
        """Whether the next message must wait for the next turn."""
        return self._spent >= self._most

    def spent(self, size: int) -> None:
        """Count a message that was inflated to `size` bytes."""
        if not self._spent:
            self._soon(self._anew)
        self._spent += size

    def _anew(self) -> None:
        self._spent = 0

    async def turn(self) -> None:
        """Wait until a message may be inflated."""
        while self.pauses:
            await asyncio.sleep(0)
