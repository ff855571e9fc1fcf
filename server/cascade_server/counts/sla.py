"""The I/O of service levels: `slo.yaml`, the state file, and the recording of each call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
from cascade_tables import list_releases

from cascade_server.config import ServerConfig
from cascade_server.counts.calls import Call
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.metering import Metering
from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.call_counts import UNKNOWN_TABLE, caller_faults
from cascade_server.counts.shared.idle_times import Key as IdleKey
from cascade_server.counts.shared.idle_times import OpenCalls, least_of
from cascade_server.counts.state_file import StateFile
from cascade_server.counts.unread import Asked, Key, RecentlyAsked, Run
from cascade_server.objectives.blame import BLAMED, CallerFault, Ending, ending_of
from cascade_server.objectives.objective import SloConfig, load_slo
from cascade_server.terms import ServiceClass, Tier

if TYPE_CHECKING:
    from cascade_server.counts.metrics import Metrics

log = logging.getLogger("cascade.server")


def open_books(
    config: ServerConfig, workers: int = 0, clock: Callable[[], float] | None = None
) -> Books:
    """Create a server's books; with workers, a book for each of them and one for the keeper.

    Raises:
        ConfigError: `slo.yaml` is invalid.
        ReleaseError: there is no model repository.
    """
    slo = SloConfig() if config.slo is None else load_slo(config.slo)
    tables = list_releases(config.repository) if config.versions is None else config.versions
    has_tenants = config.access is not None
    return Books(slo, tables, workers, clock, config.executors, has_tenants)


class Sla:
    """The objectives, and the records of how they are kept.

    Attributes:
        tables: the served tables.
        ledger, metrics: record each call; metrics only if they are enabled.
        metering: counts what was computed, and for whom.
        metrics_port: port that serves the metrics.
        scrape_refusal: refuses clients that may not scrape, set before `start`; None to allow all.
        books, place: the books, and the index of this process's book. The last book belongs to the
            process that saves them and answers scrapes.

    Raises:
        ConfigError: `slo.yaml` is invalid.
        ReleaseError: there is no model repository.
    """

    def __init__(
        self,
        config: ServerConfig,
        clock: Callable[[], float] | None = None,
        books: Books | None = None,
        place: int = 0,
    ) -> None:
        self.books = books or open_books(config, clock=clock)
        self.place = place
        # Only one process has the state file and answers scrapes.
        self._keeps = place == len(self.books.places) - 1
        self.tables = self.books.tables
        self.ledger = Ledger(self.books.config, self.tables, clock, self.books, place)
        self.metering = Metering(self.ledger.book.compute)
        self._open_calls, self._has_given_up = OpenCalls(), False
        # By the class that calls to a method count as until they have been read: `Generate` is
        # offline work; all other methods are real-time, though some of their requests may be
        # offline.
        self._recently_asked = {
            method: RecentlyAsked(self.tables, method)
            for method in (ServiceClass.REALTIME, ServiceClass.OFFLINE)
        }
        self.metrics: Metrics | None = None
        self.metrics_port: int | None = None
        self.scrape_refusal: Callable[[str], int] | None = None
        self._config = config
        # Calls of this turn that were refused unread and are not recorded yet; None if there are
        # none.
        self._unread: list[Run] | None = None
        self._file: StateFile | None = None
        # Why the last state could not be saved; None if it was.
        self._unsaved: str | None = None
        self._stopping = asyncio.Event()
        self._saving: asyncio.Task[None] | None = None

    @property
    def shared(self) -> bool:
        """Whether other processes of the server count too."""
        return len(self.books.places) > 1

    async def start(self) -> None:
        """Continue from an earlier process's counts, keep saving, and answer scrapes.

        Raises:
            ConfigError: the folder belongs to another server or is no folder; the port is taken.
        """
        if not self._keeps:
            return
        if self._config.state_dir is not None:
            self._file = StateFile(self._config.state_dir)
            if not self.books.restored:
                state = self._file.load()
                if state is not None:
                    self.ledger.restore(state)
                # Set even without a state: what is saved from now on is in the books already, and a
                # later keeper would otherwise add it again.
                self.books.restored = True
            if self._file.is_read_only:
                self._file.close()
                self._file = None
        if self._file is not None:
            await self.save()
            self._saving = asyncio.create_task(self._keep_saving())
        if self._config.tells_metrics:
            # The code that answers scrapes is a tenth of a server's imports, and few processes need
            # it.
            from cascade_server.counts.metrics import Metrics

            self.metrics = Metrics(self.ledger, self.tables)
        if self.metrics is not None and self._config.metrics_port is not None:
            self.metrics_port = self.metrics.serve(
                self._config.host, self._config.metrics_port, self.scrape_refusal
            )

    async def stop(self) -> None:
        """Save a last time, and stop answering."""
        if self.metrics is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.metrics.close)
        self._stopping.set()
        if self._saving is not None:
            await self._saving
        if self._file is not None:
            self._file.close()
            self._file = None

    async def save(self) -> None:
        """Write the state, off the event loop; a failure is logged."""
        if self._file is None:
            return
        state, loop = self.ledger.state(), asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, self._file.save, state)
        except OSError as exc:
            # Once, not every minute for as long as the disk is full.
            if exc.strerror != self._unsaved:
                log.error("%s cannot be written: %s", self._file.path, exc.strerror)
            self._unsaved = exc.strerror
        else:
            self._unsaved = None

    async def _keep_saving(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._config.state_seconds)
            try:
                await self.save()
            except Exception:  # a defect, which must not end the saving
                log.exception("error budgets could not be saved")

    def call(self, service: ServiceClass, arrived: float | None = None) -> Call:
        """Return a call that arrived at `arrived`, on the monotonic clock; None for now."""
        return Call(self, self.tables, service, arrived=arrived)

    def refused_unread(
        self, asked: Asked, code: grpc.StatusCode, arrived: float, deadline: float
    ) -> None:
        """Count a call, not of `Generate`, that was refused with only its headers read.

        It does what `Call` does for calls that live longer. Under overload most calls end here, so
        all but the first of a turn of the event loop are recorded together.

        Args:
            asked: what is known of the call; without a table, it counts as a recently read one.
            code: the call's status.
            arrived, deadline: monotonic seconds; infinite if there is no deadline.
        """
        self._open_calls.passes(arrived)
        unread, given = self._unread, deadline - arrived
        if unread is None:
            self._unread = []
            asyncio.get_running_loop().call_soon(self._record_unread)
            self._record_run(Run(asked, code, [given]))
        elif unread and unread[-1].asked is asked and unread[-1].code is code:
            unread[-1].given.append(given)
        else:
            unread.append(Run(asked, code, [given]))

    def label_of(self, table: str | None) -> str:
        """Return a table's name in a label: its own if it is served."""
        return table if table is not None and table in self.tables else UNKNOWN_TABLE

    def _record_unread(self) -> None:
        unread, self._unread = self._unread, None
        for run in unread or ():
            self._record_run(run)

    def _record_run(self, run: Run) -> None:
        table, service = run.asked
        charged: dict[Key, list[float]] = {}
        if table is None:
            # What a call counts as, and so the deadlines of each key, depend on its place among the
            # others.
            for each in run.given:
                key = self.whose_unread(ServiceClass.REALTIME)
                if service is ServiceClass.OFFLINE:
                    key = key[0], service
                charged.setdefault(key, []).append(each)
        else:
            charged[table if table in self.tables else UNKNOWN_TABLE, service] = run.given
        for (table, service), given in charged.items():
            idle = self.needed((table, service, least_of(service)), 0)
            endings = Counter(ending_of(run.code, each, idle, alone=False) for each in given)
            for ending, alike in endings.items():
                self.record(table, service, None, ending, 0.0, alike)
                self._record_unversioned(table, service, ending, 0.0, alike)

    def rpc_over(self, path: str, code: grpc.StatusCode, seconds: float) -> None:
        """Note the end of a call of any service; see `RpcCounts.record`."""
        self.ledger.book.rpcs.record(path, code, seconds)

    def caller_faults(self) -> dict[tuple[str, ServiceClass, CallerFault], int]:
        """Count the calls that failed through their callers' own fault, in all processes."""
        return caller_faults([book.calls for book in self.books.places])

    def give_up(self) -> None:
        """From now on the server cuts calls short, which does not count as hanging up."""
        self._has_given_up = True

    # The methods that calls use; see `Recorder`.

    def has_given_up(self) -> bool:
        """Whether calls are cut short because the server stops."""
        return self._has_given_up

    def begins(self, arrived: float) -> int:
        """Note that a call is started; see `OpenCalls.begin`."""
        return self._open_calls.begin(arrived)

    def is_over(self, ticket: int, now: float) -> bool:
        """Note that a call has ended; see `OpenCalls.end`."""
        return self._open_calls.end(ticket, now)

    def reads(self, method: ServiceClass, table: str, service: ServiceClass) -> None:
        """Note a call that was read, as a sample for those of its method that are not."""
        self._recently_asked[method].add((table, service))

    def whose_unread(self, method: ServiceClass) -> Key:
        """Return the budget that an unread call is charged to; see `RecentlyAsked`."""
        return self._recently_asked[method].next() or (UNKNOWN_TABLE, method)

    def needed(self, key: IdleKey, rows: int) -> float:
        """Return the seconds that any server needs for a call; see `IdleTimes.needed`."""
        return self.ledger.book.idle_times.needed(key, rows)

    def record_alone(self, key: IdleKey, rows: int, seconds: float) -> None:
        """Learn from a call that had the process to itself; see `IdleTimes.observe`."""
        self.ledger.book.idle_times.observe(key, rows, seconds)

    def record(
        self,
        table: str,
        service: ServiceClass,
        tier: Tier | None,
        ending: Ending,
        seconds: float,
        calls: int = 1,
    ) -> None:
        """Count the end of one or several calls; see `Ledger.record`."""
        self.ledger.record(table, service, tier, ending, seconds, calls)
        self.ledger.book.calls.record((table, service, tier, ending), seconds, calls)

    def record_rows(self, table: str, service: ServiceClass, tier: Tier, rows: int) -> None:
        """Count rows that are being sent; see `Ledger.record_rows`."""
        self.ledger.record_rows(table, service, tier, rows)
        self.ledger.book.calls.record_rows((table, service, tier), rows)

    def record_version(
        self,
        table: str,
        version: int,
        service: ServiceClass,
        tier: Tier | None,
        ending: Ending,
        seconds: float,
    ) -> None:
        """Count for a trial, if there is one; see `Ledger.record_trial`.

        A failure before a version was chosen counts for the version that the lot would have chosen.
        """
        if not version:
            self._record_unversioned(table, service, ending, seconds, 1)
            return
        arm = self.books.live_versions.arm(table, version)
        if arm is not None:
            self.ledger.record_trial(table, service, arm, tier, ending, seconds)

    def _record_unversioned(
        self, table: str, service: ServiceClass, ending: Ending, seconds: float, calls: int
    ) -> None:
        """Do the same for calls that failed before a version was chosen."""
        for _ in range(calls if ending in BLAMED else 0):
            arm = self.books.live_versions.arm_by_lot(table)
            if arm is None:
                return  # There is no trial.
            self.ledger.record_trial(table, service, arm, None, ending, seconds)
