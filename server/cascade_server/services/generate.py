"""`Generate`: messages of a stream, one packed while the next is drawn."""

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
    """Whether a stream is to end before all of it is sent, because its server stops.

    A stream that would be over within the grace is finished. A longer one ends at once, after a
    whole message: its caller goes on with it elsewhere rather than at the end of the grace.

    Attributes:
        hurried: set once the server is to stop.
        grace: seconds that calls in flight get from then on.
        clock: monotonic seconds.
    """

    hurried: asyncio.Event
    grace: float
    clock: Callable[[], float] = time.monotonic
    _until: float = field(default=math.inf, init=False)

    def comes_before(self, seconds_left: float) -> bool:
        """Whether a stream that needs so many more seconds cannot be finished."""
        if not self.hurried.is_set():
            return False
        now = self.clock()
        self._until = min(self._until, now + self.grace)
        return now + seconds_left > self._until


class GenerateStream:
    """Draws and packs the messages of one `Generate`.

    Args:
        job: what is asked for.
        draw: draws a message by its number, once there is a place for it.
        packing: packs messages, beside the event loop.
        ending: whether the server stops before the stream is over.
        clock: monotonic seconds.
        spent: what it takes to pack them is charged here.
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
        """The messages, in order; at most one more than its reader has taken is drawn.

        Raises:
            NotReady: the server stops; says how to go on with the stream.
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
    """What a message of so many rows is counted as, with all that was computed since the last."""
    spent, unknown = job.spent.take(), job.encoded.observed.tobytes().count(0)
    key = UsageKey(job.runtime.release.manifest.table, UsageTier.GENERATE, tenant)
    return Answered(key, spent.seconds, spent.gpu_seconds, rows, rows * unknown)
