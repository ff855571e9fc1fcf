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
        alone: no other shares its batch.
    """

    rows: int
    deadline: float
    arrived: float
    offline: bool = False
    alone: bool = False

    @property
    def is_of_a_job(self) -> bool:
        """Whether nobody waits for it: only jobs are both."""
        return self.offline and self.alone


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
    fill the bucket that real-time ones have opened, or have a batch to themselves; they take turns,
    since the deadline of a long stream says nothing of how soon its next rows are wanted. One that
    is to be alone has a batch to itself when its turn comes first.

    Args:
        now: seconds on the server's clock.
        waiting: the queue, in any order; one request may be larger than the largest bucket, and is
            then a batch of its own.
        buckets: batch sizes, increasing.
        seconds_of: the predicted tail of a batch of so many rows.
    """
    expired = tuple(i for i, each in enumerate(waiting) if each.deadline <= now)
    alive = [i for i, each in enumerate(waiting) if each.deadline > now]
    order = [i for i in alive if not waiting[i].offline]
    order.sort(key=lambda i: waiting[i].deadline)
    order += [i for i in alive if waiting[i].offline]
    take: list[int] = []
    rows = 0
    most = buckets[-1]
    # The nearest deadline that the batch, as it is now, would meet; one more must not break it.
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
    """Of how long an engine that runs in the event loop looks round for company.

    Attributes:
        max_queue_delay_microseconds: no request waits longer than this for others.
        looks: turns of the event loop in which nothing came before a batch starts.
        probe_every: runs after which an engine that found no company looks for it again.
        give_up_after: runs of a single request after which it no longer looks.
    """

    max_queue_delay_microseconds: int = 500
    looks: int = 40
    probe_every: int = 256
    give_up_after: int = 8


@dataclass(frozen=True)
class Gather:
    """Whether company is to be expected, learnt from the runs before.

    gRPC hands over one call a turn of the event loop, so that an engine that runs there finds one
    request at a time however many are on their way. Waiting for the others saves a run a request
    when there are others, and is a delay for nothing when there are none.

    Attributes:
        expected: whether to look round.
        alone: runs of a single request since the last of several.
        runs: since the last probe.
    """

    expected: bool = False
    alone: int = 0
    runs: int = 0


def after_run(gather: Gather, config: GatherConfig, requests: int) -> Gather:
    """What to expect after a run of so many requests."""
    if requests > 1:
        return Gather(expected=True)
    alone, runs = gather.alone + 1, gather.runs + 1
    if gather.expected and alone >= config.give_up_after:
        return Gather()
    if not gather.expected and runs >= config.probe_every:
        # Two looks, since the first may be at the last of a group that came together; without
        # company two single runs end it.
        return Gather(expected=True, alone=config.give_up_after - 2)
    return Gather(gather.expected, alone, runs)


def waits(
    gather: Gather, config: GatherConfig, quiet_looks: int, waited: float, rows: int, most: int
) -> bool:
    """Whether to look round once more before a batch starts.

    Args:
        gather, config: what is expected.
        quiet_looks: looks since something came.
        waited: seconds since the first request came.
        rows: in the queue.
        most: rows of a batch that runs in the event loop.
    """
    return (
        gather.expected
        and quiet_looks < config.looks
        and waited < config.max_queue_delay_microseconds / 1e6
        and rows < most
    )
