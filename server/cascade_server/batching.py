"""Which of the waiting requests the next batch takes; see `next_batch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Waiting:
    """A queued request, as far as batching goes.

    Attributes:
        rows: it needs of a batch.
        deadline: seconds on the server's clock.
        arrived: likewise.
        offline: it fills what real-time requests leave, and yields to them.
    """

    rows: int
    deadline: float
    arrived: float
    offline: bool = False


@dataclass(frozen=True)
class Batch:
    """Indices of the waiting requests that a batch takes, in order, and of those too late."""

    take: tuple[int, ...]
    expired: tuple[int, ...]


def bucket_of(rows: int, buckets: Sequence[int]) -> int:
    """The smallest bucket that holds so many rows; the largest, if none does."""
    return next((bucket for bucket in buckets if bucket >= rows), buckets[-1])


def next_batch(
    now: float,
    waiting: Sequence[Waiting],
    buckets: Sequence[int],
    seconds_of: Callable[[int], float],
) -> Batch:
    """Form a batch for an engine that is free.

    Earliest deadline first. A request whose deadline has passed is expired, not run. The batch
    closes when the next request no longer fits the largest bucket, or when running it in the same
    batch would make an earlier one late that would be in time without it. Offline requests only
    fill the bucket that real-time ones have opened, or have a batch to themselves.

    Args:
        now: seconds on the server's clock.
        waiting: the queue, in any order; one request may be larger than the largest bucket, and is
            then a batch of its own.
        buckets: batch sizes, increasing.
        seconds_of: the predicted tail of a batch of so many rows.
    """
    expired = tuple(i for i, each in enumerate(waiting) if each.deadline <= now)
    alive = [i for i, each in enumerate(waiting) if each.deadline > now]
    order = sorted(alive, key=lambda i: (waiting[i].offline, waiting[i].deadline, i))
    take: list[int] = []
    rows = 0
    most = buckets[-1]
    # The first deadline of the batch that can still be met.
    earliest = float("inf")
    for index in order:
        each = waiting[index]
        together = rows + each.rows
        if take:
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
