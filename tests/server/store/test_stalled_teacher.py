"""Equal requests wait for one draw, and none of them longer than it would wait for its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from cascade_server.errors import NotReady
from cascade_server.terms import Tier, Wanted

from tests.server.cascade.stalled import SOON, Cascade

AUTO, FULL = Wanted.AUTO, Wanted.FULL


@pytest.fixture
def cascade(repository: Path) -> Iterator[Cascade]:
    found = Cascade(repository)
    yield found
    found.dispatcher.close()


def flying(cascade: Cascade, waiting: int) -> bool:
    cached = cascade.answers.cached
    assert cached is not None
    return cascade.teacher.asked == 1 and cached.flights.waiting == waiting


async def test_auto_waits_once_for_a_teacher_that_stalls(cascade: Cascade) -> None:
    """And not one after the other, each as long as the first."""
    async with asyncio.timeout(SOON):
        found = await asyncio.gather(*(cascade.ask(AUTO, seed=7) for _ in range(4)))
    assert [each.tier for each in found] == [Tier.STUDENT] * 4
    assert cascade.teacher.asked == 1
    statistics = cascade.answers.cache_statistics()
    assert statistics is not None
    assert (statistics.misses, statistics.joined + statistics.hits) == (1, 3)
    again = await cascade.ask(Wanted.FAST, seed=7)
    assert again.cached


async def test_full_has_the_teacher_draw_where_auto_has_gone_without(cascade: Cascade) -> None:
    first = cascade.ask(AUTO, seed=7)
    await cascade.until(lambda: flying(cascade, 0))
    others = [cascade.ask(wanted, seed=7) for wanted in (FULL, AUTO, FULL)]
    await cascade.until(lambda: flying(cascade, 3))
    async with asyncio.timeout(SOON):
        assert (await first).tier is (await others[1]).tier is Tier.STUDENT
        cascade.teacher.may_draw.set()
        full = [await others[0], await others[2]]
    assert [each.tier for each in full] == [Tier.TEACHER] * 2
    assert cascade.teacher.asked == 2


async def test_auto_does_not_wait_longer_for_another_s_draw_than_for_its_own(
    cascade: Cascade,
) -> None:
    """The other is FULL, and has all the time there is; a third finds what the student drew."""
    full = cascade.ask(FULL, seed=7)
    await cascade.until(lambda: flying(cascade, 0))
    async with asyncio.timeout(SOON):
        found = await asyncio.gather(*(cascade.ask(AUTO, seed=7) for _ in range(3)))
    assert [each.tier for each in found] == [Tier.STUDENT] * 3
    assert sorted(each.cached for each in found) == [False, True, True]
    assert not full.done()
    cascade.teacher.may_draw.set()
    assert (await full).tier is Tier.TEACHER


async def test_where_the_first_is_no_more_auto_asks_no_teacher_that_it_has_no_time_for(
    cascade: Cascade,
) -> None:
    """It has waited for the other's draw as long as it would have for its own."""
    full = cascade.ask(FULL, seed=7)
    await cascade.until(lambda: flying(cascade, 0))
    auto = cascade.ask(AUTO, seed=7)
    await cascade.until(lambda: flying(cascade, 1))
    cascade.now += 1.0
    cascade.teacher.fails = NotReady("it died")
    cascade.teacher.may_draw.set()
    with pytest.raises(NotReady):
        await full
    assert (await auto).tier is Tier.STUDENT
    assert cascade.teacher.asked == 1
