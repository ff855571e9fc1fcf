"""Decides which waiting requests go into the next batch; see `next_batch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Waiting:
    """A queued request, as batching sees it.

    Attributes:
        rows: rows that it takes up in a batch.
        deadline, arrived: seconds on the server's clock.
        offline: whether it only fills up batches of real-time requests, and otherwise waits for
            them.
        alone: whether no other request may share its batch.
    """

    rows: int
    deadline: float
    arrived: float
    offline: bool = False
    alone: bool = False

    @property
    def is_of_a_job(self) -> bool:
        """Whether it belongs to a job. Only requests of jobs are both offline and alone."""
        return self.offline and self.alone


@dataclass(frozen=True)
class Batch:
    """A decision of `next_batch`, as indices into the waiting requests.

    Attributes:
        take: the requests that go into the batch, in order.
        expired: the requests whose deadline has passed.
    """

    take: tuple[int, ...]
    expired: tuple[int, ...]


def bucket_of(rows: int, buckets: Sequence[int]) -> int:
    """Return the smallest bucket that holds `rows` rows, or the largest if none does."""
    return next((bucket for bucket in buckets if bucket >= rows), buckets[-1])


def next_batch(
    now: float,
    waiting: Sequence[Waiting],
    buckets: Sequence[int],
    seconds_of: Callable[[int], float],
) -> Batch:
    """Form a batch for an engine that is free.

    Real-time requests go first, earliest deadline first. A request whose deadline has passed
    expires and does not run. The batch closes when the next request would not fit into the largest
    bucket, or when adding it would make an earlier request late that would otherwise be in time.

    Offline requests only fill the bucket that real-time requests have opened, or run in a batch
    without any real-time requests. They go in queue order, since the deadline of a long stream does
    not say how soon its next rows are needed. A request that must be alone gets a batch when it is
    first in order.

    Args:
        now: seconds on the server's clock.
        waiting: the queue. A request larger than the largest bucket gets a batch of its own.
        buckets: batch sizes, in increasing order.
        seconds_of: predicts how many seconds a batch with so many rows takes, at the tail.
    """
    expired = tuple(i for i, each in enumerate(waiting) if each.deadline <= now)
    alive = [i for i, each in enumerate(waiting) if each.deadline > now]
    order = [i for i in alive if not waiting[i].offline]
    order.sort(key=lambda i: waiting[i].deadline)
    order += [i for i in alive if waiting[i].offline]
    take: list[int] = []
    rows = 0
    most = buckets[-1]
    # The earliest deadline that the batch meets as it is; adding a request must not break it.
    earliest = float("inf")
    for index in order:
        each = waiting[index]
        together = rows + each.rows
        if take:
            if each.alone or waiting[take[0]].alone:
                continue
            if each.offline and not waiting[take[0]].offline:
                most = min(most, bucket_of(rows, buckets))
            if together > most or now + seconds_of(together) > earliest:
                if each.offline:
                    continue
                break
        take.append(index)
        rows = together
        if now + seconds_of(rows) <= each.deadline:
            earliest = min(earliest, each.deadline)
    return Batch(tuple(take), expired)


@dataclass(frozen=True)
class GatherConfig:
    """How long an engine in the event loop waits for more requests before it starts a batch.

    Attributes:
        max_queue_delay_microseconds: the longest that a request waits for others.
        looks: turns of the event loop without a new request after which the batch starts.
        probe_every: runs after which an engine that does not wait tries again whether waiting pays.
        give_up_after: runs of a single request after which an engine stops waiting.
    """

    max_queue_delay_microseconds: int = 500
    looks: int = 40
    probe_every: int = 256
    give_up_after: int = 8


@dataclass(frozen=True)
class Gather:
    """Whether other requests are likely to arrive soon, learned from earlier runs.

    gRPC delivers one call per turn of the event loop, so an engine in the event loop sees one
    request at a time, however many are on their way. Waiting for the others saves runs if there are
    others, and is a useless delay if there are none.

    Attributes:
        expected: whether to wait for others.
        alone: runs of a single request since the last run of several requests.
        runs: runs since the last probe.
    """

    expected: bool = False
    alone: int = 0
    runs: int = 0


def after_run(gather: Gather, config: GatherConfig, requests: int) -> Gather:
    """Return what to expect after a run of `requests` requests."""
    if requests > 1:
        return Gather(expected=True)
    alone, runs = gather.alone + 1, gather.runs + 1
    if gather.expected and alone >= config.give_up_after:
        return Gather()
    if not gather.expected and runs >= config.probe_every:
        # Two runs of a single request end the probe. One is not enough: it may be the last request
        # of a group that arrived together.
        return Gather(expected=True, alone=config.give_up_after - 2)
    return Gather(gather.expected, alone, runs)


def waits(
    gather: Gather, config: GatherConfig, quiet_looks: int, waited: float, rows: int, most: int
) -> bool:
    """Return whether to wait for another turn of the event loop before starting a batch.

    Args:
        gather: what is expected.
        config: how long to wait.
        quiet_looks: turns of the event loop since the last request arrived.
        waited: seconds since the first request arrived.
        rows: rows in the queue.
        most: rows that a batch in the event loop may have at most.
    """
    return (
        gather.expected
        and quiet_looks < config.looks
        and waited < config.max_queue_delay_microseconds / 1e6
        and rows < most
    )
