"""Plans the next generation before any of its processes exists."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from cascade_server.config import ServerConfig
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.shared.books import Books
from cascade_server.counts.sla import open_books
from cascade_server.memory import Memory
from cascade_server.releases.changes import Turn
from cascade_server.releases.found import Found, Key
from cascade_server.releases.generation import Generation, ReleaseConfig
from cascade_server.releases.policy import Desired
from cascade_server.supervision.placement import Board


class Planner:
    """Makes generations.

    Args:
        config: of the server.
        releases: which releases to load.
        workers: workers of a generation.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: ServerConfig,
        releases: ReleaseConfig,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._releases, self._workers = config, releases, workers
        self._clock = clock

    def plan(
        self,
        desired: Desired,
        turn: Turn,
        found: Found,
        bad: Collection[Key],
        before: Generation | None,
    ) -> Generation:
        """Plan the generation that loads the desired releases.

        Args:
            desired: which releases to load, and which should answer.
            turn: the changes, and their waiting callers.
            found: the content of the repository.
            bad: releases in it that cannot be loaded.
            before: the generation to replace.

        Raises:
            ConfigError: an objective is for a table that is not served.
        """
        loaded: Mapping[str, Sequence[int]] = {} if before is None else before.versions
        wanted = desired.wanted(found.without(bad), loaded)
        number = 1 if before is None else before.number + 1
        config = replace(self._config, versions=wanted)
        if config.teacher_socket is not None:
            socket = config.teacher_socket.with_suffix(f".{number}.sock")
            config = replace(config, teacher_socket=socket)
        board = None
        # grpcio cannot hand over a connection that it has accepted.
        if self._workers > 1 and config.transport == "http2":
            board = Board(self._workers, Memory(shared=True))
        return Generation(
            number=number,
            config=config,
            books=self._books(wanted, before),
            slot=number % 2,
            board=board,
            digests=found.digests(wanted),
            desired=desired.after(
                loaded, wanted, self._releases.canary_share, first=before is None
            ),
            turn=turn,
            began=self._clock(),
            first=before is None,
        )

    def _books(self, wanted: Mapping[str, Sequence[int]], before: Generation | None) -> Books:
        """Return the books of the generation before, or new ones if tables have no place there."""
        if before is not None and set(wanted) <= before.books.tables:
            return before.books
        tables = dict.fromkeys(() if before is None else before.books.tables, (0,))
        config = replace(self._config, versions={**tables, **wanted})
        books = open_books(config, 2 * self._workers)
        if before is not None:
            # Counts of tenants do not depend on tables, and continue where they are.
            books.tenants = before.books.tenants
        return books


def carry_over(old: Books, new: Books) -> None:
    """Carry error budgets over to larger books, which have places for new tables."""
    place = len(old.places) - 1
    state = Ledger(old.config, old.tables, old.clock, old, place).state()
    Ledger(new.config, new.tables, new.clock, new, place).restore(state)
    new.live_versions.events += old.live_versions.events
