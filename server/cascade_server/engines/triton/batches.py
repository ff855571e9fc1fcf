"""A network's queue, and its batches on the servers of a fleet.

The queue is event-driven, like `engine`: while a server has room, a batch starts at once; otherwise
requests gather. A batch that failed returns its requests to the queue. So does a batch that takes
too long, but it goes on, and the first answer counts. Noise is an input of the networks, so a batch
that runs twice gives the same rows.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import grpc
import numpy as np

from cascade_server.engines.batching import Waiting, next_batch
from cascade_server.engines.engine import TOO_LATE, EngineStatistics
from cascade_server.engines.triton.choice import (
    Hedges,
    PatienceConfig,
    Verdict,
    View,
    failure_of,
    late_at,
    least_outstanding,
    offline_rows,
    patience,
    soonest,
    verdict_of,
)
from cascade_server.engines.triton.client import PUSHBACK_MS, pushback_of, words_of
from cascade_server.engines.triton.contract import Network
from cascade_server.engines.triton.entries import (
    Attempt,
    Counts,
    Entry,
    Kind,
    buckets,
    joined,
    parts,
)
from cascade_server.engines.triton.messages import Batch, WrongAnswer
from cascade_server.engines.triton.peer import Peer
from cascade_server.errors import DeadlinePassed, NotReady
from cascade_server.telemetry.call_trace import stage_going_on

log = logging.getLogger("cascade.server")

# Batches of one network that a server has at once: one runs, and the next is there when it ends.
# Offline work leaves one place free.
IN_FLIGHT = 2
# Seconds that accepted requests wait for a server to come back when all are down.
GRACE = 1.0


class Servers(Protocol):
    """The fleet, as a queue sees it."""

    hedges: Hedges

    def views(self, network: Network, score: bool = False) -> list[View]:
        """Return the servers that may be asked for a network, or for its log-likelihoods."""

    def peer(self, target: str) -> Peer:
        """Return a server by its target."""

    def away(self, network: Network) -> str:
        """Return why no server may be asked."""


class Batches:
    """Runs the requests for a network on the servers that have it.

    Args:
        servers: the fleet.
        network: the network to run.
    """

    def __init__(
        self,
        servers: Servers,
        network: Network,
        patience_config: PatienceConfig | None = None,
    ) -> None:
        self._servers, self.network = servers, network
        self._patience = patience_config or PatienceConfig()
        self._clock = time.monotonic
        self._queue: list[Entry] = []
        self._attempts: set[Attempt] = set()
        self._counts = Counts()
        self._turn_is_due = False
        self._grace: asyncio.TimerHandle | None = None

    async def submit(
        self, batch: Batch, deadline: float, offline: bool = False
    ) -> tuple[Any, float]:
        """Wait until rows are drawn or scored.

        Returns:
            The result of `to_answer`, and the seconds that the rows waited before they were sent.

        Raises:
            DeadlinePassed: the deadline passed before the rows were done.
            NotReady: no server has the network, or it failed on all of them.
            TooMuch: all servers are full.
        """
        now, score = self._clock(), batch.noise is None
        if deadline <= now:
            self._counts.expired += 1
            raise DeadlinePassed(TOO_LATE)
        views = self._servers.views(self.network, score)
        if not views:
            raise NotReady(self._servers.away(self.network))
        most = min(view.most for view in views)
        if offline:
            most = min(offline_rows(view.outlook.line, batch.steps, most) for view in views)
        loop = asyncio.get_running_loop()
        entries = [
            Entry(
                part,
                Waiting(part.rows, deadline, now, offline),
                loop.create_future(),
                inside=stage_going_on(),
            )
            for part in parts(batch, most)
        ]
        for entry in entries:
            if math.isfinite(deadline):
                entry.timer = loop.call_later(deadline - now, self._expire, entry)
            self._queue.append(entry)
        self.come_round()
        try:
            done = [await entry.future for entry in entries]
        finally:
            for entry in entries:
                self._leave(entry)
        waited = sum(entry.started - now for entry in entries) / len(entries)
        return (done[0] if len(done) == 1 else np.concatenate(done)), waited

    def predict(self, rows: int, passes: int) -> float:
        """Predict the .99 quantile of the seconds for rows that come now; infinite if none can."""
        ahead = sum(e.waiting.rows for e in self._queue if not e.waiting.offline)
        views = self._servers.views(self.network)
        return soonest(views, self._clock(), rows, passes, ahead)

    def statistics(self) -> EngineStatistics:
        """Return counts of past batches and of waiting requests."""
        return self._counts.statistics(self._queue)

    def come_round(self) -> None:
        """Look at the queue once all arrivals of this turn of the event loop are in it."""
        if self._queue and not self._turn_is_due:
            self._turn_is_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        while self._queue and self._start_one():
            pass
        self._mind_grace()

    def _start_one(self) -> bool:
        """Start a batch of the most urgent kind that a server has room for.

        Returns:
            Whether the queue has become shorter.
        """
        now = self._clock()
        order = sorted(self._queue, key=lambda e: (e.waiting.offline, e.waiting.deadline))
        seen: set[tuple[Kind, bool]] = set()
        for head in order:
            kind, offline = head.kind, head.waiting.offline
            if (kind, offline) in seen:
                continue
            seen.add((kind, offline))
            views = self._servers.views(self.network, kind.score)
            if kind.tried and all(view.target in kind.tried for view in views):
                self._nobody_else(head)
                return True
            in_flight = IN_FLIGHT - 1 if offline else IN_FLIGHT
            view = least_outstanding(views, head.waiting.rows, in_flight, kind.tried)
            if view is not None:
                self._start(now, [e for e in self._queue if e.kind == kind], view)
                return True
        return False

    def _nobody_else(self, entry: Entry) -> None:
        """Handle a request that every server has failed at, or is still working on."""
        self._queue.remove(entry)
        if not entry.attempts and not entry.future.done():
            failure = entry.failure or NotReady(self._servers.away(self.network))
            entry.future.set_exception(failure)

    def _start(self, now: float, entries: Sequence[Entry], view: View) -> None:
        steps, line = entries[0].batch.steps, view.outlook.line
        batch = next_batch(
            now,
            [entry.waiting for entry in entries],
            buckets(view.most),
            lambda rows: line.tail(rows, steps),
        )
        for entry in [entries[i] for i in batch.expired]:
            self._expire(entry)
        taken = [entries[i] for i in batch.take]
        if not taken:
            return
        for entry in taken:
            self._queue.remove(entry)
            if not entry.started:
                entry.started = now
                self._counts.queue_seconds += now - entry.waiting.arrived
        together = joined([entry.batch for entry in taken])
        attempt = Attempt(self._servers.peer(view.target), taken)
        for entry in taken:
            entry.attempts.add(attempt)
        self._attempts.add(attempt)
        attempt.underway, tail = attempt.peer.begins(self.network, together, attempt.give_up)
        self._servers.hedges = self._servers.hedges.after_batch()
        loop = asyncio.get_running_loop()
        attempt.task = loop.create_task(self._run(attempt, together, now))
        attempt.task.add_done_callback(partial(self._never_begun, attempt))
        if not all(entry.waiting.offline for entry in taken):
            first = min(entry.waiting.deadline for entry in taken) - now
            elsewhere = [
                each
                for each in self._servers.views(self.network, together.noise is None)
                if each.target != view.target
            ]
            other = soonest(elsewhere, now, together.rows, steps, 0)
            if elsewhere:
                wait = patience(tail, other, first, self._patience)
                attempt.timer = loop.call_later(wait, self._hedge, attempt)

    async def _run(self, attempt: Attempt, batch: Batch, sent: float) -> None:
        peer, last = attempt.peer, max(e.waiting.deadline for e in attempt.entries)
        offline = all(entry.waiting.offline for entry in attempt.entries)
        ended = partial(self._ended, attempt)
        try:
            answer = await peer.client.infer(
                self.network, batch, last - sent, offline, ended, attempt.inside
            )
        except asyncio.CancelledError:
            self._over(attempt)
            if attempt.underway is not None:
                peer.leaves_alone(attempt.underway)
            # Otherwise no caller waits for the batch any more, or another server was faster.
            if attempt.lost:
                self._again(attempt, Verdict.GONE, peer.health.why)
        except grpc.aio.AioRpcError as exc:
            self._over(attempt)
            verdict = verdict_of(exc.code(), last - self._clock())
            self._again(attempt, verdict, words_of(exc), pushback_of(exc))
        except WrongAnswer as exc:
            self._over(attempt)
            self._again(attempt, Verdict.FAULTY, str(exc))
        except Exception as exc:  # a defect; the callers are told
            self._over(attempt)
            for entry in attempt.entries:
                if not entry.future.done():
                    entry.future.set_exception(exc)
        else:
            self._over(attempt)
            self._answered(attempt, batch, answer, sent)
        self.come_round()

    def _never_begun(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        """Clean up after a task that was cancelled before its first turn, and so never ran."""
        if task.cancelled():
            self._over(attempt)
            self._ended(attempt)
            if attempt.lost:
                self._again(attempt, Verdict.GONE, attempt.peer.health.why)
            self.come_round()

    def _ended(self, attempt: Attempt) -> None:
        """Note that a server no longer has a batch, whether or not a caller waits for it."""
        if attempt.underway is not None:
            attempt.peer.ends(self.network, attempt.underway)
        self.come_round()

    def _over(self, attempt: Attempt) -> None:
        """Stop waiting for a batch."""
        self._attempts.discard(attempt)
        if attempt.timer is not None:
            attempt.timer.cancel()
        for entry in attempt.entries:
            entry.attempts.discard(attempt)

    def _answered(self, attempt: Attempt, batch: Batch, answer: Any, sent: float) -> None:
        counts = self._counts
        counts.runs += 1
        counts.rows += batch.rows
        counts.run_seconds += attempt.peer.did(self.network, batch, sent)
        counts.last_run = time.time()
        start = 0
        for entry in attempt.entries:
            rows = entry.waiting.rows
            if not entry.future.done():
                entry.future.set_result(answer[start : start + rows])
            start += rows
            self._leave(entry)

    def _again(
        self, attempt: Attempt, verdict: Verdict, words: str, pushback_ms: int = PUSHBACK_MS
    ) -> None:
        """Return the requests of a failed batch to the queue, for another server."""
        peer, target = attempt.peer, attempt.peer.target
        if verdict is not Verdict.LATE:
            peer.counts.failures += 1
        told = self._servers.away(self.network) if verdict is Verdict.GONE else words
        failure = failure_of(verdict, str(self.network), target, told, pushback_ms)
        if verdict is Verdict.GONE and not attempt.lost:
            peer.gone(words)
        elif verdict is Verdict.LACKS:
            peer.lacks(self.network, words)
        elif verdict is Verdict.FAULTY:
            log.error("%s failed at %s: %s", self.network, target, words)
            peer.faulty(self.network, words)
        alive = [entry for entry in attempt.entries if not entry.future.done()]
        others = self._servers.views(self.network, attempt.entries[0].kind.score)
        if alive and verdict is not Verdict.LATE and any(v.target != target for v in others):
            peer.counts.failovers += 1
        for entry in alive:
            entry.failure = failure
            if verdict is Verdict.LATE:
                self._expire(entry)
                continue
            # A server that has gone may be asked again once it is back.
            if verdict not in (Verdict.GONE, Verdict.LACKS):
                entry.tried |= {target}
            if not entry.attempts and entry not in self._queue:
                self._queue.append(entry)

    def _hedge(self, attempt: Attempt) -> None:
        """Send a batch that takes too long to another server too."""
        target = attempt.peer.target
        alive = [e for e in attempt.entries if not e.future.done() and e not in self._queue]
        views = self._servers.views(self.network, attempt.entries[0].kind.score)
        others = [view for view in views if view.target != target and not view.suspect]
        if not alive or not others or not self._servers.hedges.allowed:
            return
        self._servers.hedges = self._servers.hedges.after_hedge()
        attempt.peer.counts.hedges += 1
        attempt.peer.hangs()
        for entry in alive:
            entry.tried |= {target}
            self._queue.append(entry)
        self.come_round()

    def _mind_grace(self) -> None:
        """Let queued requests wait for a while if all servers are down."""
        stuck = any(not self._servers.views(self.network, e.kind.score) for e in self._queue)
        if stuck and self._grace is None:
            self._grace = asyncio.get_running_loop().call_later(GRACE, self._give_up)
        elif not stuck and self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _give_up(self) -> None:
        self._grace = None
        for entry in list(self._queue):
            if not self._servers.views(self.network, entry.kind.score):
                self._queue.remove(entry)
                if not entry.future.done():
                    entry.future.set_exception(NotReady(self._servers.away(self.network)))

    def _expire(self, entry: Entry) -> None:
        """Expire a request whose deadline has passed, in the queue or at a server."""
        if not entry.future.done():
            self._counts.expired += not entry.started
            where = ", ".join(sorted(attempt.peer.target for attempt in entry.attempts))
            words = late_at(where) if where else TOO_LATE
            entry.future.set_exception(DeadlinePassed(words))
        self._leave(entry)

    def _leave(self, entry: Entry) -> None:
        """Forget a request that no caller waits for, and cancel batches without other requests."""
        if entry.timer is not None:
            entry.timer.cancel()
        if entry in self._queue:
            self._queue.remove(entry)
        if not entry.future.done():
            entry.future.cancel()
        elif not entry.future.cancelled():
            entry.future.exception()  # mark the exception as retrieved
        for attempt in list(entry.attempts):
            if all(each.future.done() for each in attempt.entries):
                attempt.cancel()

    def close(self) -> None:
        """Drop everything that waits or is in progress."""
        for entry in list(self._queue):
            self._leave(entry)
        for attempt in list(self._attempts):
            attempt.cancel()
        if self._grace is not None:
            self._grace.cancel()
