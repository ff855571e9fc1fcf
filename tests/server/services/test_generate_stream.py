"""In which order messages of `Generate` are drawn, packed and sent, and how a stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.errors import NotReady
from cascade_server.services.generate import Ending, GenerateStream

CHUNKS = 4


class FakeJob:
    """Four messages of one row, whose packing is told."""

    chunks = range(CHUNKS)

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def pack(self, chunk: int) -> pb.GenerateResponse:
        self.told.append(f"pack {chunk}")
        return pb.GenerateResponse(done=chunk + 1, total=CHUNKS)


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def packing() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def parts(stream: GenerateStream) -> AsyncIterator[int]:
    async for part in stream.run():
        yield part.done


def ending(clock: Clock, grace: float = 10.0, stops: bool = False) -> Ending:
    hurried = asyncio.Event()
    if stops:
        hurried.set()
    return Ending(hurried, grace, clock)


async def test_the_next_message_is_drawn_while_one_is_packed(packing: ThreadPoolExecutor) -> None:
    told: list[str] = []
    second = asyncio.Event()

    async def draw(_: Any, index: int) -> Any:
        told.append(f"draw {index}")
        if index == 1:
            second.set()
        return index

    class Slow(FakeJob):
        def pack(self, chunk: int) -> pb.GenerateResponse:
            if chunk == 0:
                # Ends only if the second is being drawn meanwhile.
                asyncio.run_coroutine_threadsafe(second.wait(), loop).result(30)
            return super().pack(chunk)

    loop = asyncio.get_running_loop()
    job: Any = Slow(told)
    stream = GenerateStream(job, draw, packing, ending(Clock()))
    assert [done async for done in parts(stream)] == [1, 2, 3, 4]
    assert told.index("draw 1") < told.index("pack 0")


async def test_no_more_than_one_message_ahead_of_its_reader(packing: ThreadPoolExecutor) -> None:
    drawn: list[int] = []

    async def draw(_: Any, index: int) -> Any:
        drawn.append(index)
        return index

    job: Any = FakeJob([])
    reading = parts(GenerateStream(job, draw, packing, ending(Clock())))
    assert await anext(reading) == 1
    for _ in range(5):
        await asyncio.sleep(0)
    assert drawn == [0, 1]
    await reading.aclose()


async def test_a_reader_who_leaves_ends_the_draw(packing: ThreadPoolExecutor) -> None:
    ended: list[int] = []

    async def draw(_: Any, index: int) -> Any:
        if index == 0:
            return index
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(index)

    job: Any = FakeJob([])
    messages = GenerateStream(job, draw, packing, ending(Clock())).run()
    await anext(messages)
    await asyncio.sleep(0)
    await messages.aclose()
    assert ended == [1]


async def test_a_failure_of_a_draw_is_the_streams(packing: ThreadPoolExecutor) -> None:
    async def draw(_: Any, index: int) -> Any:
        if index == 2:
            raise NotReady("the teacher is away")
        return index

    job: Any = FakeJob([])
    reading = parts(GenerateStream(job, draw, packing, ending(Clock())))
    assert [await anext(reading), await anext(reading)] == [1, 2]
    with pytest.raises(NotReady, match="the teacher is away"):
        await anext(reading)


class TestAServerThatStops:
    """Streams that fit the grace are finished; others end after a whole message."""

    async def stopped(
        self, packing: ThreadPoolExecutor, grace: float, seconds_each: float
    ) -> list[Any]:
        clock = Clock()
        end = ending(clock, grace)

        async def draw(_: Any, index: int) -> Any:
            clock.now += seconds_each
            return index

        job: Any = FakeJob([])
        out: list[Any] = []
        try:
            async for done in parts(GenerateStream(job, draw, packing, end, clock)):
                out.append(done)
                end.hurried.set()
        except NotReady as exc:
            out.append(str(exc))
        return out

    async def test_one_that_fits_is_finished(self, packing: ThreadPoolExecutor) -> None:
        assert await self.stopped(packing, grace=100.0, seconds_each=1.0) == [1, 2, 3, 4]

    async def test_one_that_does_not_says_how_to_go_on(self, packing: ThreadPoolExecutor) -> None:
        *sent, why = await self.stopped(packing, grace=1.0, seconds_each=10.0)
        assert sent in ([1], [1, 2])
        assert f"ask again with done={sent[-1]}" in why

    def test_the_grace_begins_once(self) -> None:
        clock = Clock()
        end = Ending(asyncio.Event(), 10.0, clock)
        assert not end.comes_before(1e9)
        end.hurried.set()
        assert not end.comes_before(10.0)
        clock.now = 5.0
        assert (end.comes_before(5.0), end.comes_before(5.1)) == (False, True)
