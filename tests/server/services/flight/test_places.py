"""Who has a place, and who loses it."""

from __future__ import annotations

import asyncio

from cascade_server.services.flight.places import Places


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_as_many_as_there_are_have_one() -> None:
    places, left = Places(2, 1e9), list[str]()
    async with places.place(lambda: left.append("a")), places.place(lambda: left.append("b")):
        third = asyncio.create_task(places.place(lambda: None).__aenter__())
        await turns()
        assert not third.done()
    await third
    assert left == ["b", "a"]


async def test_who_takes_nothing_loses_it_to_who_waits() -> None:
    places, dropped = Places(1, 0.0), asyncio.Event()
    async with places.place(dropped.set) as slow:
        slow.sends()
        async with places.place(lambda: None) as other:
            assert dropped.is_set()
            assert other.taken()
        assert not slow.taken()
        dropped.clear()
    # What is lost is not given back a second time.
    assert not dropped.is_set()
    async with places.place(lambda: None):
        waits = asyncio.create_task(places.place(lambda: None).__aenter__())
        await turns()
        assert not waits.done()
        waits.cancel()


async def test_nobody_loses_it_for_whom_nobody_waits() -> None:
    async with Places(1, 0.0).place(lambda: None) as slow:
        slow.sends()
        await turns()
        assert slow.taken()
