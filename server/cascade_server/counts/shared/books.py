"""The counts of every process of a server, in memory that all of them see."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from itertools import product
from typing import Literal

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from numpy.typing import NDArray

from cascade_server.counts.shared.call_counts import CallCounts, buckets
from cascade_server.counts.shared.compute import ComputeCounts
from cascade_server.counts.shared.idle_times import IdleTimes
from cascade_server.counts.shared.live_versions import LiveVersions
from cascade_server.counts.shared.merging import counted, merged
from cascade_server.counts.shared.process_usage import ProcessPlace, ProcessRole
from cascade_server.counts.shared.rpc_counts import RpcCounts
from cascade_server.counts.shared.sketches import Sketches
from cascade_server.counts.shared.steady_clock import SteadyClock
from cascade_server.counts.shared.tally import Tally
from cascade_server.counts.shared.tenant_counts import TenantCounts
from cascade_server.counts.shared.trial import Trial
from cascade_server.memory import Memory, Note
from cascade_server.objectives.objective import SloConfig
from cascade_server.terms import ServiceClass, Tier

log = logging.getLogger("cascade.server")

# Bytes for a process's statistics: the least, and the addition per table, whose versions take some
# hundred each.
NOTE, NOTE_OF_A_TABLE = 256 * 1024, 1024
# What is left out, in this order, of statistics that do not fit: counts by name, since there may be
# many long names.
SPARED: tuple[Literal["outside", "engines", "pool"], ...] = ("outside", "engines", "pool")
# Bytes for the supervisor's report on processes and releases: enough for thousands. Memory that is
# never written to costs nothing.
TOLD = 1024 * 1024
# Seconds after which a process without news is taken to hold nothing.
STALE = 5.0
# Teacher processes at the same time.
TEACHERS = 2


class Book:
    """One process's counts.

    Attributes:
        tally, sketches, calls: counters of objectives, latencies and calls.
        rpcs: counts of all calls of all services, if they are counted.
        trial: counts of objectives for the two versions of a trial.
        idle_times: durations of calls that have the process to themselves.
        compute: what was computed, and for whom.
        now: serialized statistics of the process, written regularly.
        before: counts of the earlier processes in its place.
    """

    def __init__(self, books: Books, memory: Memory) -> None:
        self.tally = Tally(
            2 * len(books.objectives), books.config.window, books.since, memory=memory
        )
        self.sketches = Sketches(len(books.sketched), memory)
        self.calls = CallCounts(books.tables, buckets(books.objectives), memory)
        self.trial = Trial(len(books.objectives), memory)
        self.idle_times = IdleTimes(books.tables, memory)
        self.rpcs = RpcCounts(memory)
        self.compute = ComputeCounts(books.tables, memory)
        room = NOTE + NOTE_OF_A_TABLE * len(books.tables)
        self.now, self.before = Note(memory, room), Note(memory, room)
        self._complained = False

    def says(self, own: pb.GetStatisticsResponse) -> None:
        """Publish the current statistics of the process."""
        self._write(self.now, own)

    def keeps(self, counts: pb.GetStatisticsResponse) -> None:
        """Store the counts of the earlier processes in its place."""
        self._write(self.before, counts)

    def _write(self, note: Note, said: pb.GetStatisticsResponse) -> None:
        content, left_out = fitting(said, note.room)
        if left_out and not self._complained:
            self._complained = True  # complain once: twice a second is too often
            log.warning(
                "%s are left out of what a process tells the others of itself: all of it has %s "
                "bytes, and there is room for %s",
                " and ".join(left_out),
                f"{said.ByteSize():,}",
                f"{note.room:,}",
            )
        note.write(content)


def fitting(said: pb.GetStatisticsResponse, room: int) -> tuple[bytes, Sequence[str]]:
    """Return statistics in at most so many bytes, and the parts left out if not all fit.

    A process without any statistics would look like one that hangs.
    """
    left_out = 0
    while said.ByteSize() > room and left_out < len(SPARED):
        if not left_out:
            whole, said = said, pb.GetStatisticsResponse()
            said.CopyFrom(whole)
        said.ClearField(SPARED[left_out])
        left_out += 1
    return said.SerializeToString(), SPARED[:left_out]


class UsageSince:
    """The time since which usage is counted.

    Attributes:
        own: when this server began, on the books' clock.
    """

    def __init__(self, now: float, memory: Memory) -> None:
        self.own = now
        self._numbers = memory.floats(2)

    @property
    def restored(self) -> float:
        """Start of the earlier server whose counts are included, Unix seconds; 0 without one."""
        return float(self._numbers[0])

    @property
    def serving(self) -> float:
        """Seconds that earlier servers were running."""
        return float(self._numbers[1])

    def restore(self, since: float, serving: float) -> None:
        """Continue from an earlier server."""
        self._numbers[:] = since, serving


class Books:
    """A book for each process; create it before the processes fork.

    Attributes:
        config, tables: the objectives, and the tables that they are for.
        clock: the clock by which counts age in every process.
        objectives: in the order of their counters, two for each.
        sketched: the keys that have latencies, in the order of the sketches.
        places: a book for each process: the workers', then the keeper's, which holds the content of
            a state file.
        live_versions: which version of each table answers.
        tenants: requests and usage of tenants; None if callers are not identified.
        told: the supervisor's report on processes and releases, for display: JSON, as
            `supervision.facts` packs it; empty if nothing displays it.
        executors: counts of the processes that work on jobs.
        before: counts of earlier servers, which this one continues.
        processes: usage of each process: first those of `places`, then the teachers, of which there
            may be two while one generation replaces another, then the executors.
        usage_since: the time since which usage is counted.
    """

    def __init__(
        self,
        config: SloConfig,
        tables: Collection[str],
        workers: int = 0,
        clock: Callable[[], float] | None = None,
        executors: int = 0,
        has_tenants: bool = False,
    ) -> None:
        self.config, self.tables = config, frozenset(tables)
        self.clock = SteadyClock() if clock is None else SteadyClock.of(clock)
        self.objectives = config.for_tables(tables)
        self.sketched = list(product(sorted(tables), ServiceClass, Tier))
        memory = Memory(shared=workers > 0)
        self._since = memory.floats(1)
        self.since = self.clock()
        self._restored = memory.integers(1)
        self.places = [Book(self, memory) for _ in range(workers + 1)]
        self.live_versions = LiveVersions(self.tables, memory)
        self.tenants = TenantCounts(len(self.places), memory) if has_tenants else None
        self.told = Note(memory, TOLD)
        self.executors = [ComputeCounts(self.tables, memory) for _ in range(executors)]
        self.before = ComputeCounts(self.tables, memory)
        of_places = [ProcessRole.WORKER] * workers + [ProcessRole.KEEPER]
        roles = [
            *(of_places if workers else [ProcessRole.WORKER]),
            *[ProcessRole.TEACHER] * TEACHERS,
            *[ProcessRole.EXECUTOR] * executors,
        ]
        self.processes = [ProcessPlace(role, memory) for role in roles]
        self.usage_since = UsageSince(self.since, memory)

    @property
    def compute(self) -> list[ComputeCounts]:
        """Counts of computation of every process of this server."""
        return [*(book.compute for book in self.places), *self.executors]

    def teacher(self, slot: int) -> ProcessPlace:
        """Return the place of a generation's teacher, by the generation's slot."""
        return self.processes[len(self.places) + slot % TEACHERS]

    def executor(self, number: int) -> ProcessPlace:
        """Return the place of an executor."""
        return self.processes[len(self.places) + TEACHERS + number]

    @property
    def since(self) -> float:
        """When counting began, on the clock."""
        return float(self._since[0])

    @since.setter
    def since(self, seconds: float) -> None:
        self._since[0] = seconds

    @property
    def restored(self) -> bool:
        """Whether the counts of an earlier server are included."""
        return bool(self._restored[0])

    @restored.setter
    def restored(self, yes: bool) -> None:
        self._restored[0] = yes

    def succeed(self, place: int) -> None:
        """Begin in a place, keeping the counts of the process that had it before."""
        book = self.places[place]
        gone = [
            pb.GetStatisticsResponse.FromString(note.read()[0]) for note in (book.before, book.now)
        ]
        book.keeps(counted(merged(gone)))
        book.now.write(b"")

    def leave(self, place: int, own: pb.GetStatisticsResponse) -> None:
        """End the process of a place: its counts stay, and what it held is dropped."""
        book = self.places[place]
        before = pb.GetStatisticsResponse.FromString(book.before.read()[0])
        book.now.write(b"")
        book.keeps(counted(merged([before, own])))

    def left(self, place: int) -> None:
        """Note that the process of a place has ended and has no successor yet.

        The process that starts the others calls this. The counts stay, but what the process held is
        dropped: a killed process has not reported that, and if other processes have taken over its
        work, no successor will.
        """
        if self.tenants is not None:
            self.tenants.left(place)
        self.processes[place].leave()

    def trial(self) -> NDArray[np.int64]:
        """Counts of trials of all processes; see `Trial.counts`."""
        return np.sum([book.trial.counts for book in self.places], axis=0)

    def answered_in_real_time(self) -> int:
        """Count the calls that all processes have ended, except offline ones; it never falls."""
        offline = ServiceClass.OFFLINE
        keys = [place for place, key in enumerate(self.places[0].calls.keys) if key[1] != offline]
        return sum(int(book.calls.durations[keys].sum()) for book in self.places)

    def statistics(self, own: pb.GetStatisticsResponse, place: int) -> pb.GetStatisticsResponse:
        """Return the statistics of all processes.

        Args:
            own: current statistics of the calling process; empty if it has none.
            place: place of the calling process.
        """
        live, gone = [own], []
        for number, book in enumerate(self.places):
            gone.append(pb.GetStatisticsResponse.FromString(book.before.read()[0]))
            if number == place:
                continue
            content, written = book.now.read()
            said = pb.GetStatisticsResponse.FromString(content)
            late = time.monotonic() - written > STALE
            (gone if late else live).append(counted(said) if late else said)
        return merged([*live, *gone])
