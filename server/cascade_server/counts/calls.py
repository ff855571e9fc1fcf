"""One call, from its arrival to what is recorded of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from typing import Protocol

import grpc

from cascade_server.terms import ServiceClass, Tier

# The table of a request that names none of those there are: a metric's label is one of a few.
UNKNOWN_TABLE = "(unknown)"
# A caller whose deadline passes hangs up when its own clock says so. That is before the server's
# does by as much as gRPC rounded the deadline up: a hundredth at most, and milliseconds of short
# ones.
EARLY_SHARE, EARLY_SECONDS = 0.01, 0.005


class Recorder(Protocol):
    """Where outcomes go; see `Ledger` for what the arguments are."""

    def record(
        self,
        table: str,
        service: ServiceClass,
        tier: Tier | None,
        code: grpc.StatusCode,
        seconds: float,
    ) -> None:
        """The end of a call."""

    def record_rows(self, table: str, service: ServiceClass, tier: Tier, rows: int) -> None:
        """Rows that are on their way to the caller."""

    def record_version(
        self,
        table: str,
        version: int,
        service: ServiceClass,
        code: grpc.StatusCode,
        seconds: float,
    ) -> None:
        """The end of a call that a version answered, or failed to."""

    def record_version_rows(
        self, table: str, version: int, service: ServiceClass, tier: Tier, rows: int
    ) -> None:
        """Rows of a version."""


class Call:
    """Keeps the time that the server takes for a call, and records how it ends, once.

    Args:
        recorder: is told.
        tables: names that may be recorded.
        service: the class of service until the request has been read.
        clock: monotonic seconds, the same as the deadline's.
        arrived: when it came, on the clock; None: now.
    """

    __slots__ = (
        "_clock",
        "_deadline",
        "_recorder",
        "_resumed",
        "_service",
        "_spent",
        "_table",
        "_tables",
        "_tier",
        "_version",
    )

    def __init__(
        self,
        recorder: Recorder,
        tables: Collection[str],
        service: ServiceClass,
        clock: Callable[[], float] = time.monotonic,
        arrived: float | None = None,
    ) -> None:
        self._recorder, self._tables, self._clock = recorder, tables, clock
        self._table, self._service, self._deadline = UNKNOWN_TABLE, service, math.inf
        self._tier: Tier | None = None
        self._version = 0
        self._spent, self._resumed = 0.0, clock() if arrived is None else arrived

    def asks(self, table: str, service: ServiceClass, deadline: float) -> None:
        """The request has been read."""
        if table in self._tables:
            self._table = table
        self._service, self._deadline = service, deadline

    def of(self, version: int) -> None:
        """The version that is to answer has been chosen."""
        self._version = version

    def sends(self, tier: Tier, rows: int) -> None:
        """Rows have been drawn and are on their way."""
        self._tier = tier
        self._recorder.record_rows(self._table, self._service, tier, rows)
        if self._version:
            self._recorder.record_version_rows(
                self._table, self._version, self._service, tier, rows
            )

    def pause(self) -> None:
        """What follows is the caller's time: a stream's reader takes as long as it likes."""
        now = self._clock()
        self._spent, self._resumed = self._spent + now - self._resumed, now

    def resume(self) -> None:
        """The server's time again."""
        self._resumed = self._clock()

    def ends(self, code: grpc.StatusCode) -> None:
        """The call is over."""
        seconds = self._spent + self._clock() - self._resumed
        tier = self._tier if code is grpc.StatusCode.OK else None
        self._recorder.record(self._table, self._service, tier, code, seconds)
        if self._version:
            self._recorder.record_version(self._table, self._version, self._service, code, seconds)

    def hung_up(self) -> None:
        """The caller is gone, or its deadline has passed, which gRPC tells a server alike."""
        now = self._clock()
        elapsed = self._spent + now - self._resumed
        self.ends(why_hung_up(elapsed, self._deadline - now))


def why_hung_up(elapsed: float, remaining: float) -> grpc.StatusCode:
    """DEADLINE_EXCEEDED if the deadline is as good as over, else CANCELLED.

    Args:
        elapsed: seconds since the call came.
        remaining: seconds to its deadline; infinite where there is none.
    """
    if math.isinf(remaining):
        return grpc.StatusCode.CANCELLED
    early = EARLY_SECONDS + EARLY_SHARE * (elapsed + remaining)
    over = remaining <= early
    return grpc.StatusCode.DEADLINE_EXCEEDED if over else grpc.StatusCode.CANCELLED
