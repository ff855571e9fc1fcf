"""The requests that wait for servers, the batches that servers have, and their counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from cascade_server.engines.batching import Waiting
from cascade_server.engines.engine import EngineStatistics
from cascade_server.engines.triton.messages import Batch
from cascade_server.engines.triton.peer import Peer, Underway
from cascade_server.errors import ServerError
from cascade_server.telemetry.trace_context import TraceContext


class Kind(NamedTuple):
    """What requests must have in common to share a batch.

    Attributes:
        score: whether the requests need log-likelihoods rather than rows.
        steps: the most passes.
        tried: servers that have failed at them, or have not answered yet.
    """

    score: bool
    steps: int
    tried: frozenset[str]


@dataclass(eq=False)
class Entry:
    """A request, or a part of one, from arrival to answer.

    Attributes:
        tried: servers that have failed at it, or have not answered yet.
        attempts: batches in progress that contain it.
        failure: the error of the last failed attempt.
        started: when it was first sent; 0 if it was not.
        timer: fires at its deadline.
        inside: the stage of its call, if the call is traced.
    """

    batch: Batch
    waiting: Waiting
    future: asyncio.Future[Any]
    tried: frozenset[str] = frozenset()
    attempts: set[Attempt] = field(default_factory=set)
    failure: ServerError | None = None
    started: float = 0.0
    timer: asyncio.TimerHandle | None = None
    inside: TraceContext | None = None

    @property
    def kind(self) -> Kind:
        return Kind(self.batch.noise is None, self.batch.steps, self.tried)


@dataclass(eq=False)
class Attempt:
    """A batch that a server has.

    Attributes:
        underway: its record in the server's books.
        timer: fires when another server is asked too.
        lost: whether the server went down while it had the batch.
    """

    peer: Peer
    entries: list[Entry]
    underway: Underway | None = None
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    lost: bool = False

    @property
    def inside(self) -> TraceContext | None:
        """The stage of the first traced call in the batch: a server is told about one trace."""
        return next((each.inside for each in self.entries if each.inside is not None), None)

    def give_up(self) -> None:
        """Fail the batch, since its server is gone."""
        self.lost = True
        self.cancel()

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()


@dataclass
class Counts:
    """Counts of a network's requests, in rows and seconds; see `EngineStatistics`."""

    runs: int = 0
    rows: int = 0
    expired: int = 0
    run_seconds: float = 0.0
    queue_seconds: float = 0.0
    last_run: float = 0.0

    def statistics(self, queue: Iterable[Entry]) -> EngineStatistics:
        """Return the statistics, including the waiting requests."""
        real = [entry.waiting.rows for entry in queue if not entry.waiting.offline]
        return EngineStatistics(
            waiting=len(real),
            waiting_rows=sum(real),
            runs=self.runs,
            rows=self.rows,
            expired=self.expired,
            run_nanoseconds=round(1e9 * self.run_seconds),
            queue_nanoseconds=round(1e9 * self.queue_seconds),
            last_run=round(1e6 * self.last_run),
        )


def buckets(most: int) -> tuple[int, ...]:
    """Return the powers of two up to a largest size."""
    return (*(2**n for n in range((most - 1).bit_length())), most)


def parts(batch: Batch, most: int) -> list[Batch]:
    """Split a batch into parts of at most `most` rows."""
    if batch.rows <= most:
        return [batch]
    cuts = [slice(start, start + most) for start in range(0, batch.rows, most)]
    return [
        Batch(
            batch.tokens[cut],
            batch.observed[cut],
            None if batch.noise is None else batch.noise[cut],
            batch.steps,
        )
        for cut in cuts
    ]


def joined(batches: Sequence[Batch]) -> Batch:
    """Join requests of one kind into one batch."""
    if len(batches) == 1:
        return batches[0]
    noises = [batch.noise for batch in batches if batch.noise is not None]
    return Batch(
        np.concatenate([batch.tokens for batch in batches]),
        np.concatenate([batch.observed for batch in batches]),
        np.concatenate(noises) if noises else None,
        batches[0].steps,
    )
