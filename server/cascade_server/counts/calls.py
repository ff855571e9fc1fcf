"""The counts of one call, collected from its arrival until they are recorded at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from typing import Protocol

import grpc

from cascade_server.counts.shared.call_counts import UNKNOWN_TABLE
from cascade_server.counts.shared.idle_times import Key, least_of
from cascade_server.objectives.blame import BLAMED, Ending, ending_of, why_hung_up
from cascade_server.objectives.metric_names import NO_TIER
from cascade_server.terms import ServiceClass, Tier

OK = grpc.StatusCode.OK


class Recorder(Protocol):
    """Records the outcomes of calls: `Sla` in a server. `Ledger` describes the arguments."""

    def begins(self, arrived: float) -> int:
        """Note a call that arrived at `arrived`; returns a ticket to give to `is_over`."""

    def is_over(self, ticket: int, now: float) -> bool:
        """Note the end of a call; return whether it was the only one since its arrival."""

    def has_given_up(self) -> bool:
        """Return whether calls are being cut short because the server stops."""

    def reads(self, method: ServiceClass, table: str, service: ServiceClass) -> None:
        """Note the table and class of a call once it has been read.

        Args:
            method: the class that calls of its method count as until they have been read.
            table, service: what the call counts as.
        """

    def whose_unread(self, method: ServiceClass) -> tuple[str, ServiceClass]:
        """Return the table and class for a call that was never read."""

    def needed(self, key: Key, rows: int) -> float:
        """Return the seconds that such a call takes on an idle server; 0 if unknown."""

    def record_alone(self, key: Key, rows: int, seconds: float) -> None:
        """Learn the duration of a call that was alone and drawn by the lowest tier it allows."""

    def record(
        self,
        table: str,
        service: ServiceClass,
        tier: Tier | None,
        ending: Ending,
        seconds: float,
    ) -> None:
        """Count the end of a call."""

    def record_rows(self, table: str, service: ServiceClass, tier: Tier, rows: int) -> None:
        """Count rows sent to the caller."""

    def record_version(
        self,
        table: str,
        version: int,
        service: ServiceClass,
        tier: Tier | None,
        ending: Ending,
        seconds: float,
    ) -> None:
        """Count the end of a call for the version chosen to answer it.

        Args:
            version: the release's version; 0 if the call ended before one was chosen.
        """


class Watcher(Protocol):
    """Learns how one call ended, such as its trace."""

    def ended(
        self,
        table: str,
        service: str,
        tier: str,
        code: grpc.StatusCode,
        ending: str,
        seconds: float,
    ) -> None:
        """Take the labels under which the call was counted."""


class Call:
    """Measures how long the server takes for a call, and records once how it ends.

    A service makes one when it starts to handle a call, reports what it learns about the call
    (`asks`, `answers_with`, `sends`), and finishes with `ends` or `hung_up`. If a call fails by the
    server's fault before it is read, it counts for the table and class that its headers named
    (`announces`) or, if they named none, for those of a recently read call.

    Args:
        recorder: records the outcome.
        tables: names of tables that may be recorded; all others count as unknown.
        service: the class that calls of its method count as until they have been read.
        clock: monotonic seconds, the clock of the deadline.
        arrived: when the call arrived, on the clock; None for now.

    Attributes:
        tenant: the caller's tenant; empty if tenants are not told apart.
        ending: how it counts, once it has ended.
        watcher: notified when it ends; None for no watcher.
    """

    __slots__ = (
        "_arrived",
        "_clock",
        "_deadline",
        "_is_read",
        "_least",
        "_method",
        "_recorder",
        "_resumed",
        "_rows",
        "_rows_drawn",
        "_service",
        "_spent",
        "_table",
        "_tables",
        "_ticket",
        "_tier",
        "_timeout",
        "_version",
        "_yields",
        "ending",
        "tenant",
        "watcher",
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
        self._table, self._deadline = UNKNOWN_TABLE, math.inf
        self._method = self._service = service
        self._yields = False
        self._tier: Tier | None = None
        self._least: Tier | None = None
        self._version, self._is_read = 0, False
        self.tenant = ""
        self._rows = self._rows_drawn = 0
        self._timeout = math.inf
        self._arrived = clock() if arrived is None else arrived
        self._spent, self._resumed = 0.0, self._arrived
        self.ending: Ending = OK
        self.watcher: Watcher | None = None
        self._ticket = recorder.begins(self._arrived)

    @property
    def table(self) -> str:
        """The table that the call counts for."""
        return self._table

    @property
    def service(self) -> ServiceClass:
        """The class that the call counts for."""
        return self._service

    def yields(self) -> None:
        """Count the call as offline whatever its request says: its caller has low priority."""
        self._yields, self._service = True, ServiceClass.OFFLINE

    def announces(self, table: str | None, service: ServiceClass | None, deadline: float) -> None:
        """Note the headers, which may be all that is ever read of the call.

        Args:
            table: the table in the headers; None if there is none.
            service: the class in the headers; None if there is none.
            deadline: seconds on the clock; infinite if there is none.
        """
        self._deadline = deadline
        if table is not None:
            self._is_read = True
            self._names(table)
            if service is not None and not self._yields:
                self._service = service

    def asks(
        self,
        table: str,
        service: ServiceClass,
        deadline: float,
        rows: int = 0,
        timeout_microseconds: int = 0,
        least: Tier | None = None,
    ) -> None:
        """Note the request once it has been read.

        Args:
            table: the table in the request.
            service: the class that the call counts for.
            deadline: seconds on the clock; infinite if there is none.
            rows: rows to draw, which decide whether the deadline was too short for any server; 0 if
                unknown.
            timeout_microseconds: the request's own timeout; 0 if it has none.
            least: the lowest tier that may answer it; None for the default of its class.
        """
        if self._yields:
            least, service = least or least_of(service), ServiceClass.OFFLINE
        self._is_read, self._rows, self._least = True, rows, least
        self._names(table)
        self._service, self._deadline = service, deadline
        if timeout_microseconds:
            self._timeout = timeout_microseconds / 1e6
        if self._table is not UNKNOWN_TABLE:
            self._recorder.reads(self._method, table, service)

    def _names(self, table: str) -> None:
        self._table = table if table in self._tables else UNKNOWN_TABLE

    def answers_with(self, version: int) -> None:
        """Note the version of the release that will answer."""
        self._version = version

    def sends(self, tier: Tier, rows: int, is_plain: bool = True) -> None:
        """Count rows sent to the caller.

        Args:
            tier: the tier that drew them.
            rows: how many rows.
            is_plain: whether they were drawn for this call, without waiting for another tier first.
        """
        self._tier = tier
        if is_plain:
            self._rows_drawn += rows
        self._recorder.record_rows(self._table, self._service, tier, rows)

    def pause(self) -> None:
        """Stop the clock: the reader of a stream may take any time."""
        now = self._clock()
        self._spent, self._resumed = self._spent + now - self._resumed, now

    def resume(self) -> None:
        """Start the clock again after `pause`."""
        self._resumed = self._clock()

    def ends(self, code: grpc.StatusCode) -> None:
        """Record the end of the call.

        Its status, and whether its deadline was long enough, decide whose fault a failure is; see
        `blame`.
        """
        recorder, now = self._recorder, self._clock()
        seconds = self._spent + now - self._resumed
        alone = recorder.is_over(self._ticket, now)
        if not self._is_read and code in BLAMED:
            self._table, service = recorder.whose_unread(self._method)
            self._service = ServiceClass.OFFLINE if self._yields else service
        table, service = self._table, self._service
        if code is OK:
            if alone and self._rows_drawn:
                self._tells_what_is_needed(seconds)
            ending: Ending = code
        else:
            # A call that was refused unread does not show whether other calls were waiting.
            alone = alone and self._is_read
            idle = recorder.needed((table, service, self._lowest()), self._rows)
            given = min(self._timeout, self._deadline - self._arrived)
            ending = ending_of(code, given, idle, alone)
        tier = self._tier if code is OK else None
        recorder.record(table, service, tier, ending, seconds)
        recorder.record_version(table, self._version, service, tier, ending, seconds)
        self.ending = ending
        if self.watcher is not None:
            label = tier or NO_TIER
            self.watcher.ended(table, service, label, code, ending.name, seconds)

    def _lowest(self) -> Tier:
        return self._least or least_of(self._service)

    def _tells_what_is_needed(self, seconds: float) -> None:
        """Learn how long an idle server takes for such a call, since this one was alone.

        Calls that the student may answer too, but the teacher answered, are left out.
        """
        least = self._lowest()
        if self._tier is Tier.STUDENT or least is Tier.TEACHER:
            key = (self._table, self._service, least)
            self._recorder.record_alone(key, self._rows_drawn, seconds)

    def hung_up(self) -> None:
        """Record a call that was cut short.

        gRPC cancels the handler in the same way if the caller has gone, the deadline has passed or
        the server stops: this tells the cases apart.
        """
        if self._recorder.has_given_up():
            self.ends(grpc.StatusCode.UNAVAILABLE)
            return
        now = self._clock()
        elapsed = self._spent + now - self._resumed
        self.ends(why_hung_up(elapsed, self._deadline - now))
