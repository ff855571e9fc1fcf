"""How much offline work is made ready for the teacher at once, and who is next."""

from __future__ import annotations

import asyncio

import pytest
from cascade_server.cascade.release_engines import RowLimiter


class Crew:
    """Some who have rows under way, until each is told to end."""

    def __init__(self, most: int) -> None:
        self.underway, self.inside = RowLimiter(most), list[str]()
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, rows: int) -> None:
        self._ends[name] = asyncio.Event()

        async def run() -> None:
            async with self.underway.rows(rows):
                self.inside.append(name)
                try:
                    await self._ends[name].wait()
                finally:
                    self.inside.remove(name)

        self._tasks[name] = asyncio.create_task(run())
        await settled()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._tasks[name]
        await settled()

    async def cancel_together(self, *names: str) -> None:
        """As when a connection is lost on which all of them have come."""
        for name in names:
            self._tasks[name].cancel()
        found = await asyncio.gather(*(self._tasks[name] for name in names), return_exceptions=True)
        assert [type(each) for each in found] == [asyncio.CancelledError] * len(names)
        await settled()

    def task(self, name: str) -> asyncio.Task[None]:
        return self._tasks[name]

    async def leave(self) -> None:
        for name in list(self._tasks):
            if not self._tasks[name].done():
                await self.end(name)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_rows_than_may_be_and_in_their_order() -> None:
    crew = Crew(10)
    for name, rows in (("a", 6), ("b", 4), ("large", 8), ("small", 1)):
        await crew.come(name, rows)
    assert crew.inside == ["a", "b"]
    await crew.end("b")
    assert crew.inside == ["a"]  # The small one does not pass the large one by.
    await crew.end("a")
    assert crew.inside == ["large", "small"]
    await crew.leave()


async def test_more_than_may_be_are_let_in_alone() -> None:
    crew = Crew(10)
    await crew.come("huge", 100)
    await crew.come("next", 1)
    assert crew.inside == ["huge"]
    await crew.end("huge")
    assert crew.inside == ["next"]
    await crew.leave()


async def test_who_gives_up_makes_room_for_who_waits_behind() -> None:
    crew = Crew(10)
    for name, rows in (("a", 6), ("large", 8), ("small", 1)):
        await crew.come(name, rows)
    await crew.cancel("large")
    assert crew.inside == ["a", "small"]
    await crew.leave()


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a"), ("a", "c")])
async def test_those_who_give_up_together_keep_no_room(names: tuple[str, ...]) -> None:
    """They wait, are let in, and have rows under way, all at one moment."""
    crew = Crew(10)
    for name, rows in (("a", 10), ("b", 10), ("c", 5), ("d", 5)):
        await crew.come(name, rows)
    await crew.cancel_together(*names)
    assert crew.inside == (["d"] if "b" in names else ["b"])
    await crew.leave()
    await crew.come("next", 10)
    assert crew.inside == ["next"]
    await crew.leave()


async def test_who_gives_up_as_he_is_let_in_keeps_no_room() -> None:
    crew = Crew(10)
    for name in ("a", "b", "c"):
        await crew.come(name, 10)
    # In this order: `a` ends, `b` is let in, `b` is cancelled before it runs.
    crew.task("a").add_done_callback(lambda _: crew.task("b").cancel())
    await crew.end("a")
    await settled()
    assert crew.inside == ["c"]
    await crew.leave()
