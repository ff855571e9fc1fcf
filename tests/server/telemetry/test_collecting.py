"""How the books' keeper takes what the other processes have noted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from cascade_server.telemetry.collecting import Collecting
from cascade_server.telemetry.records import Record
from cascade_server.telemetry.span_pipe import SpanPipe

# So many fit into the smallest pipe.
MANY = 500


@pytest.fixture
def pipe() -> Iterator[SpanPipe]:
    made = SpanPipe()
    yield made
    made.close()


def record(number: int) -> Record:
    return Record(f"{number:032x}", "", "worker 0", ())


class Takes:
    """Remembers what it was given, and tells when that is enough."""

    def __init__(self, enough: int) -> None:
        self.given: list[str] = []
        self._enough, self.all = enough, asyncio.Event()

    def __call__(self, record: Record) -> None:
        self.given.append(record.trace_id)
        if len(self.given) == self._enough:
            self.all.set()


async def test_what_comes_is_taken_and_what_comes_after_it_too(pipe: SpanPipe) -> None:
    takes = Takes(2)
    collecting = Collecting(pipe, [takes])
    collecting.start()
    for _ in range(2):
        takes.given.clear()
        takes.all.clear()
        pipe.send(record(1))
        pipe.send(record(2))
        await asyncio.wait_for(takes.all.wait(), 60)
        assert takes.given == [record(1).trace_id, record(2).trace_id]
    await collecting.stop()


async def test_one_that_cannot_be_taken_is_not_the_last(pipe: SpanPipe) -> None:
    failed, takes = asyncio.Event(), Takes(1)
    asyncio.get_running_loop().set_exception_handler(lambda *_: failed.set())

    def fails_once(one: Record) -> None:
        if not failed.is_set():
            raise ValueError("not this one")
        takes(one)

    collecting = Collecting(pipe, [fails_once])
    collecting.start()
    pipe.send(record(1))
    await asyncio.wait_for(failed.wait(), 60)
    pipe.send(record(2))
    await asyncio.wait_for(takes.all.wait(), 60)
    await collecting.stop()
    assert takes.given == [record(2).trace_id]


async def test_what_comes_one_by_one_is_taken_together(pipe: SpanPipe) -> None:
    """A look for each would take a processor from who answers as often as that does."""
    takes = Takes(MANY)
    collecting = Collecting(pipe, [takes])
    looked = 0

    def receive() -> list[Record]:
        nonlocal looked
        looked += 1
        return SpanPipe.receive(pipe)

    pipe.receive = receive  # type: ignore[method-assign]
    collecting.start()
    for number in range(MANY):
        pipe.send(record(number))
        await asyncio.sleep(0)
    await asyncio.wait_for(takes.all.wait(), 60)
    await collecting.stop()
    assert takes.given == [record(number).trace_id for number in range(MANY)]
    assert pipe.dropped == 0
    assert looked < MANY / 4


async def test_nothing_that_came_before_the_end_is_lost(pipe: SpanPipe) -> None:
    takes = Takes(MANY)
    collecting = Collecting(pipe, [takes])
    collecting.start()
    for number in range(MANY):
        pipe.send(record(number))
    await collecting.stop()
    assert len(takes.given) == MANY
