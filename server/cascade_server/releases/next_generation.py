"""The generation that is to follow, before any of its processes is there."""

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
        releases: what is loaded.
        workers: of a generation.
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
        """The generation that loads what is desired.

        Args:
            desired: what is to be loaded, and who is to answer.
            turn: who waits for it.
            found: what there is.
            bad: what of it cannot be loaded.
            before: the generation that it follows.

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
        # grpcio does not hand over what it has accepted.
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
        """Those of the generation before, unless there are tables that they have no place for."""
        if before is not None and set(wanted) <= before.books.tables:
            return before.books
        tables = dict.fromkeys(() if before is None else before.books.tables, (0,))
        config = replace(self._config, versions={**tables, **wanted})
        books = open_books(config, 2 * self._workers)
        if before is not None:
            # What tenants have asked for is of no table, and goes on where it is.
            books.tenants = before.books.tenants
        return books


def carry_over(old: Books, new: Books) -> None:
    """New tables have come: error budgets go on in larger books."""
    place = len(old.places) - 1
    state = Ledger(old.config, old.tables, old.clock, old, place).state()
    Ledger(new.config, new.tables, new.clock, new, place).restore(state)
    new.live_versions.events += old.live_versions.events
