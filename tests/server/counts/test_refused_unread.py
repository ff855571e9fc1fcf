"""Calls that were refused unread are counted by the turn, each as if it had been counted alone."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from pathlib import Path

import grpc
import pytest
from cascade_server.config import ServerConfig
from cascade_server.counts.shared.call_counts import UNKNOWN_TABLE, added
from cascade_server.counts.shared.idle_times import ENOUGH
from cascade_server.counts.shared.trial import outcomes
from cascade_server.counts.sla import Sla
from cascade_server.counts.unread import Asked
from cascade_server.objectives.blame import CallerFault, Ending
from cascade_server.terms import ServiceClass, Tier

from tests.releases import TABLE

FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
REALTIME, OFFLINE = ServiceClass.REALTIME, ServiceClass.OFFLINE
NAMED: Asked = (TABLE, REALTIME)
UNNAMED: Asked = (None, REALTIME)


@pytest.fixture
def sla(repository: Path) -> Sla:
    return Sla(ServerConfig(repository=repository))


def counted(sla: Sla) -> Counter[tuple[str, ServiceClass, Ending]]:
    """Calls by table, class and how they ended."""
    book = sla.ledger.book.calls
    calls = added([book])[0].sum(axis=1).tolist()
    found: Counter[tuple[str, ServiceClass, Ending]] = Counter()
    for (table, service, _, ending), number in zip(book.keys, calls, strict=True):
        if number:
            found[table, service, ending] += number
    return found


def spent(sla: Sla) -> int:
    """Events of the real-time availability objective that were not good."""
    (found,) = (
        each.events
        for each in sla.ledger.report().statuses
        if each.objective.name == f"{TABLE}-realtime-availability"
    )
    return found.total - found.good


async def test_the_first_at_once_and_the_others_when_the_turn_is_over(sla: Sla) -> None:
    for _ in range(100):
        sla.refused_unread(NAMED, FULL, 10.0, 11.0)
    assert counted(sla) == {(TABLE, REALTIME, FULL): 1}
    await asyncio.sleep(0)
    assert counted(sla) == {(TABLE, REALTIME, FULL): 100}
    assert spent(sla) == 100
    sla.refused_unread(NAMED, FULL, 10.0, 11.0)
    assert counted(sla) == {(TABLE, REALTIME, FULL): 101}


async def test_calls_that_are_not_alike_between_others_that_are(sla: Sla) -> None:
    sla.reads(REALTIME, TABLE, REALTIME)
    asked = [NAMED, UNNAMED, ("no such table", REALTIME), (TABLE, OFFLINE)]
    for number in range(100):
        sla.refused_unread(asked[number // 3 % 4], FULL, 10.0, math.inf)
    await asyncio.sleep(0)
    assert counted(sla) == {
        (TABLE, REALTIME, FULL): 52,
        (UNKNOWN_TABLE, REALTIME, FULL): 24,
        (TABLE, OFFLINE, FULL): 24,
    }
    assert spent(sla) == 52


async def test_who_gave_too_little_time_is_told_from_the_others_of_the_turn(sla: Sla) -> None:
    for _ in range(ENOUGH):
        sla.record_alone((TABLE, REALTIME, Tier.STUDENT), 1, 0.01)
    for number in range(60):
        given = 0.001 if number % 3 == 0 else 0.1
        sla.refused_unread(NAMED, FULL, 10.0, 10.0 + given)
    await asyncio.sleep(0)
    assert counted(sla) == {
        (TABLE, REALTIME, FULL): 40,
        (TABLE, REALTIME, CallerFault.DEADLINE_TOO_SHORT): 20,
    }
    assert spent(sla) == 40


@pytest.mark.parametrize("callers", [1, 2, 3, 5])
async def test_of_several_tables_each_is_charged_as_if_alone(
    repository: Path, callers: int
) -> None:
    """Callers come in turn, each with a deadline of its own; one table takes long, one does not."""
    found = []
    for at_once in (False, True):
        sla = Sla(ServerConfig(repository=repository))
        for table, seconds in ((TABLE, 0.05), ("shops", 0.0001), (TABLE, 0.05)):
            sla.reads(REALTIME, table, REALTIME)
            for _ in range(ENOUGH):
                sla.record_alone((table, REALTIME, Tier.STUDENT), 1, seconds)
        for number in range(90):
            given = 1.0 if number % callers else 0.01
            sla.refused_unread(UNNAMED, FULL, 10.0, 10.0 + given)
            if not at_once:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        found.append(counted(sla))
    assert found[0] == found[1]
    assert found[0].total() == 90


async def test_a_server_that_is_asked_for_offline_work_alone(sla: Sla) -> None:
    """Parts of frames are calls of `Synthesize`: so are those that are refused unread."""
    sla.reads(REALTIME, "shops", OFFLINE)
    for _ in range(100):
        sla.refused_unread(UNNAMED, FULL, 10.0, math.inf)
    await asyncio.sleep(0)
    assert counted(sla) == {("shops", OFFLINE, FULL): 100}


async def test_what_generate_was_asked_for_is_no_call_of_another_method(sla: Sla) -> None:
    sla.reads(OFFLINE, "shops", OFFLINE)
    sla.reads(REALTIME, TABLE, REALTIME)
    for _ in range(100):
        sla.refused_unread(UNNAMED, FULL, 10.0, math.inf)
    await asyncio.sleep(0)
    assert counted(sla) == {(TABLE, REALTIME, FULL): 100}


async def test_who_lets_others_go_first_has_asked_for_a_table_all_the_same(sla: Sla) -> None:
    sla.reads(REALTIME, "shops", REALTIME)
    for _ in range(100):
        sla.refused_unread((None, OFFLINE), FULL, 10.0, math.inf)
    await asyncio.sleep(0)
    assert counted(sla) == {("shops", OFFLINE, FULL): 100}


async def test_a_trial_is_told_of_each(sla: Sla) -> None:
    sla.books.live_versions.put(TABLE, 1, 2, 0.5)
    for _ in range(200):
        sla.refused_unread(NAMED, FULL, 10.0, 11.0)
    await asyncio.sleep(0)
    (found,) = (
        each
        for each in outcomes(sla.ledger.objectives, TABLE, sla.books.trial())
        if each.objective.name == f"{TABLE}-realtime-availability"
    )
    assert found.stable.total + found.canary.total == 200
    assert min(found.stable.total, found.canary.total) > 50
    assert found.stable.good == found.canary.good == 0
