"""An alarm for due calls, accurate to some ten microseconds.

An event loop's own timers have whole milliseconds, and their delay would be measured as the
server's. Linux has timers as files (timerfd_create(2)), which a loop can watch; elsewhere the
loop's own timers are used.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable

CLOCK_MONOTONIC, TFD_TIMER_ABSTIME = 1, 1
TFD_NONBLOCK, TFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """Calls a function when the monotonic clock has reached a time.

    Args:
        loop: the running event loop.
        ring: called at that time, in the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring
        self._handle: asyncio.TimerHandle | None = None
        self._file = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._file = self._libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self._file >= 0:
            loop.add_reader(self._file, self._rung)

    def set(self, at: float) -> None:
        """Ring once at a time of `time.monotonic()`, instead of any time set before."""
        if self._file >= 0:
            # A time of 0 would disarm it.
            nanoseconds = max(1, round(1e9 * at))
            spec = _Itimerspec()
            spec.value = _Timespec(*divmod(nanoseconds, 1_000_000_000))
            self._libc.timerfd_settime(self._file, TFD_TIMER_ABSTIME, ctypes.byref(spec), None)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0.0, at - time.monotonic()), self._ring)

    def _rung(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:  # it was set anew since
            return
        self._ring()

    def close(self) -> None:
        """Cancel the alarm, and close its timer."""
        if self._handle is not None:
            self._handle.cancel()
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = -1
