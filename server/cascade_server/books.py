"""What every process of a server counts, where all of them see it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from itertools import product

from cascade_server.call_counts import CallCounts, buckets
from cascade_server.memory import Memory, Note
from cascade_server.objectives import ClassOfService, SloConfig
from cascade_server.router import Tier
from cascade_server.sketches import Sketches
from cascade_server.tally import Tally

# Bytes of a process's statistics.
NOTE = 256 * 1024


class Book:
    """One process's counts.

    Attributes:
        tally, sketches, calls: counters of objectives, of latencies, of calls.
        now: statistics of the process, serialized; written now and then.
        before: counts of the processes that had its place before it.
    """

    def __init__(self, books: Books, memory: Memory) -> None:
        self.tally = Tally(
            2 * len(books.objectives), books.config.window, books.since, memory=memory
        )
        self.sketches = Sketches(len(books.sketched), memory)
        self.calls = CallCounts(books.tables, buckets(books.objectives), memory)
        self.now, self.before = Note(memory, NOTE), Note(memory, NOTE)


class Books:
    """A book for each process; made before they part.

    Attributes:
        config, tables: what is promised, of which tables.
        objectives: in the order in which their counters are; two for each.
        sketched: what there are latencies of, in the order of the sketches.
        places: a book each: the workers', then the keeper's, which has what a state file held.
    """

    def __init__(
        self,
        config: SloConfig,
        tables: Collection[str],
        workers: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config, self.tables, self.clock = config, frozenset(tables), clock
        self.objectives = config.of(tables)
        self.since = clock()
        self.sketched = list(product(sorted(tables), ClassOfService, Tier))
        memory = Memory(shared=workers > 0)
        self.places = [Book(self, memory) for _ in range(workers + 1)]
