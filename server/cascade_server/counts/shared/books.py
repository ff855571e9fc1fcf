"""What every process of a server counts, where all of them see it."""

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

# Bytes of a process's statistics: at least, and for each table, whose versions have some hundred.
NOTE, NOTE_OF_A_TABLE = 256 * 1024, 1024
# What is left out of statistics for which there is no room, the first first: what is counted by
# names, of which there may be many and long ones.
SPARED: tuple[Literal["outside", "engines", "pool"], ...] = ("outside", "engines", "pool")
# Bytes of what the supervisor says of processes and releases: room for thousands of these. Memory
# that is never written to is none.
TOLD = 1024 * 1024
# Seconds after which a process that has said nothing holds nothing.
STALE = 5.0
# Teachers' processes at once.
TEACHERS = 2


class Book:
    """One process's counts.

    Attributes:
        tally, sketches, calls: counters of objectives, of latencies, of calls.
        rpcs: of all calls of all services, where they are counted.
        trial: of objectives, of the two versions of a trial.
        idle_times: what calls take that have the process to themselves.
        compute: what was computed, and for whom.
        now: statistics of the process, serialized; written now and then.
        before: counts of the processes that had its place before it.
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
        """What the process has to say of itself now."""
        self._write(self.now, own)

    def keeps(self, counts: pb.GetStatisticsResponse) -> None:
        """What processes that had its place before it have counted."""
        self._write(self.before, counts)

    def _write(self, note: Note, said: pb.GetStatisticsResponse) -> None:
        content, left_out = fitting(said, note.room)
        if left_out and not self._complained:
            self._complained = True  # twice a second is too often
            log.warning(
                "%s are left out of what a process tells the others of itself: all of it has %s "
                "bytes, and there is room for %s",
                " and ".join(left_out),
                f"{said.ByteSize():,}",
                f"{note.room:,}",
            )
        note.write(content)


def fitting(said: pb.GetStatisticsResponse, room: int) -> tuple[bytes, Sequence[str]]:
    """Statistics in so many bytes, and what is left out of them where all has no room: a process
    that said nothing at all would pass for one that hangs."""
    left_out = 0
    while said.ByteSize() > room and left_out < len(SPARED):
        if not left_out:
            whole, said = said, pb.GetStatisticsResponse()
            said.CopyFrom(whole)
        said.ClearField(SPARED[left_out])
        left_out += 1
    return said.SerializeToString(), SPARED[:left_out]


class UsageSince:
    """Since when usage is counted.

    Attributes:
        own: when this server began, on the books' clock.
    """

    def __init__(self, now: float, memory: Memory) -> None:
        self.own = now
        self._numbers = memory.floats(2)

    @property
    def restored(self) -> float:
        """When an earlier server began whose counts are among these, Unix seconds; 0: there was
        none."""
        return float(self._numbers[0])

    @property
    def serving(self) -> float:
        """Seconds that earlier servers were there."""
        return float(self._numbers[1])

    def restore(self, since: float, serving: float) -> None:
        """Go on from an earlier server."""
        self._numbers[:] = since, serving


class Books:
    """A book for each process; made before they part.

    Attributes:
        config, tables: what is promised, of which tables.
        clock: what counts grow old by, in every process.
        objectives: in the order in which their counters are; two for each.
        sketched: what there are latencies of, in the order of the sketches.
        places: a book each: the workers', then the keeper's, which has what a state file held.
        live_versions: which version of a table answers.
        tenants: what tenants have asked for; None: nobody is asked who they are.
        told: what the supervisor says of processes and releases, for who shows them: JSON, as
            `supervision.facts` packs it; empty where nobody shows them.
        executors: where those count what they compute who work off jobs.
        before: what servers before this one have computed, whose counts it goes on from.
        processes: what each process takes: first those of `places`, then the teachers, of which
            there may be two while one generation follows another, then the executors.
        usage_since: since when usage is counted.
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
        """What every process of this server has computed."""
        return [*(book.compute for book in self.places), *self.executors]

    def teacher(self, slot: int) -> ProcessPlace:
        """The place of a generation's teacher, by the generation's slot."""
        return self.processes[len(self.places) + slot % TEACHERS]

    def executor(self, number: int) -> ProcessPlace:
        """The place of an executor."""
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
        """Whether what an earlier server counted is in them."""
        return bool(self._restored[0])

    @restored.setter
    def restored(self, yes: bool) -> None:
        self._restored[0] = yes

    def succeed(self, place: int) -> None:
        """Begin in a place: what the process there before has counted is kept."""
        book = self.places[place]
        gone = [
            pb.GetStatisticsResponse.FromString(note.read()[0]) for note in (book.before, book.now)
        ]
        book.keeps(counted(merged(gone)))
        book.now.write(b"")

    def leave(self, place: int, own: pb.GetStatisticsResponse) -> None:
        """The process of a place ends: what it has counted stays, what it held is gone."""
        book = self.places[place]
        before = pb.GetStatisticsResponse.FromString(book.before.read()[0])
        book.now.write(b"")
        book.keeps(counted(merged([before, own])))

    def left(self, place: int) -> None:
        """The process of a place has ended, however it did, and no other has it yet; told by who
        starts them. What it has counted stays. What it held is gone: one that was killed has not
        said so, and where others have taken over there is none to come that would."""
        if self.tenants is not None:
            self.tenants.left(place)
        self.processes[place].leave()

    def trial(self) -> NDArray[np.int64]:
        """What all processes have counted of trials: as `Trial.counts`."""
        return np.sum([book.trial.counts for book in self.places], axis=0)

    def answered_in_real_time(self) -> int:
        """Calls that all processes have ended, whichever way, but offline ones; it never falls."""
        offline = ServiceClass.OFFLINE
        keys = [place for place, key in enumerate(self.places[0].calls.keys) if key[1] != offline]
        return sum(int(book.calls.durations[keys].sum()) for book in self.places)

    def statistics(self, own: pb.GetStatisticsResponse, place: int) -> pb.GetStatisticsResponse:
        """Of all processes.

        Args:
            own: of the one that asks, as they are now; empty where it has none.
            place: its place.
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
