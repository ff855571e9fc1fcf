"""Streams the messages of `Generate`: draws the next message while packing the last."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from cascade_proto import synthesis_pb2 as pb

from cascade_server.cascade.generate_job import Chunk, GenerateJob
from cascade_server.counts.metering import Answered
from cascade_server.counts.shared.compute import UsageKey, UsageTier
from cascade_server.engines.spent import Spent, timed
from cascade_server.errors import NotReady


@dataclass
class Ending:
    """Decides whether a stream ends early because its server stops.

    A stream that can finish within the grace period does so. A longer one ends at once, after a
    whole message, so that its caller can resume it elsewhere without waiting for the grace to end.

    Attributes:
        hurried: set once the server begins to stop.
        grace: seconds that calls in flight then have.
        clock: monotonic seconds.
    """

    hurried: asyncio.Event
    grace: float
    clock: Callable[[], float] = time.monotonic
    _grace_ends: float = field(default=math.inf, init=False)

    def comes_before(self, seconds_left: float) -> bool:
        """Return whether the grace ends before a stream that needs `seconds_left` is finished."""
        if not self.hurried.is_set():
            return False
        now = self.clock()
        self._grace_ends = min(self._grace_ends, now + self.grace)
        return now + seconds_left > self._grace_ends


class GenerateStream:
    """Draws and packs the messages of one `Generate`.

    Args:
        job: the checked request.
        draw: draws the rows of a message, given the job and the message's number.
        packing: the thread that packs messages.
        ending: decides whether the stream ends early.
        clock: monotonic seconds.
        spent: receives the seconds of packing; None: not counted.
    """

    def __init__(
        self,
        job: GenerateJob,
        draw: Callable[[GenerateJob, int], Awaitable[Chunk]],
        packing: Executor,
        ending: Ending,
        clock: Callable[[], float] = time.monotonic,
        spent: Spent | None = None,
    ) -> None:
        self._spent = spent or Spent()
        self._job, self._draw, self._packing = job, draw, packing
        self._ending, self._clock = ending, clock

    async def run(self) -> AsyncGenerator[pb.GenerateResponse, None]:
        """Yield the messages in order; at most one more is drawn than has been taken.

        Raises:
            NotReady: the server stops; says how to resume the stream.
            TooMuch, DeadlinePassed: as `Dispatcher.draw_chunk`.
        """
        job, loop = self._job, asyncio.get_running_loop()
        began = self._clock()
        drawing = asyncio.ensure_future(self._draw(job, job.chunks.start))
        try:
            for number, index in enumerate(job.chunks, start=1):
                chunk = await drawing
                left = len(job.chunks) - number
                seconds_left = left * (self._clock() - began) / number
                ends = left > 0 and self._ending.comes_before(seconds_left)
                if left and not ends:
                    drawing = asyncio.ensure_future(self._draw(job, index + 1))
                part, seconds = await loop.run_in_executor(self._packing, timed, job.pack, chunk)
                self._spent.seconds += seconds
                yield part
                if ends:
                    raise NotReady(
                        f"the server is stopping; ask again with done={part.done}, the seed and "
                        "the version of the provenance, for the other rows"
                    )
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)


def counted_part(job: GenerateJob, rows: int, tenant: str) -> Answered:
    """Return the counts of a message: its rows, and the compute since the previous message."""
    spent, unknown = job.spent.take(), job.encoded.observed.tobytes().count(0)
    key = UsageKey(job.runtime.release.manifest.table, UsageTier.GENERATE, tenant)
    return Answered(key, spent.seconds, spent.gpu_seconds, rows, rows * unknown)
