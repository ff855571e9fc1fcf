"""A file of fewer tenants comes while somebody is at those of before, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from cascade_server.access.access import Access
from cascade_server.access.deciding import Refused
from cascade_server.access.grants import Caller
from cascade_server.access.metrics import AccessCollector
from cascade_server.access.quotas import NAME, QuotaFile

from tests.server.access.examples import Clock, access_of, headers, key_of, lines

NAMES = ("alice", "bob", "carol")


def tenants(*names: str) -> str:
    found = [f"  {name}: {{keys: {lines(name)}, quotas: {{rows: 100}}}}\n" for name in names]
    return "tenants:\n" + "".join(found)


def caller(access: Access, name: str) -> Caller:
    found = access.caller(headers(key_of(name)[0]))
    assert isinstance(found, Caller)
    return found


def reloads_during(
    method: str, access: Access, monkeypatch: pytest.MonkeyPatch, text: str = tenants("alice")
) -> None:
    """Have a new file taken in the midst of a look, after the first number that is asked for."""
    counts: Any = access.counts.all
    asked = getattr(counts, method)

    def look(*arguments: Any) -> Any:
        access.path.write_text(text)
        access.reload()
        return asked(*arguments)

    monkeypatch.setattr(counts, method, look)


def test_quotas_are_written_of_those_there_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = access_of(tenants(*NAMES), tmp_path, Clock())
    for name in NAMES:
        access.charge(caller(access, name), 30)
    reloads_during("today", access, monkeypatch)
    found = json.loads(QuotaFile(tmp_path, access, 60).content())
    assert found["tenants"] == {name: [30, 0] for name in NAMES}


@pytest.mark.parametrize("method", ["today", "total"])
def test_a_scrape_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    access = access_of(tenants(*NAMES), tmp_path, Clock())
    reloads_during(method, access, monkeypatch)
    told = {
        sample.labels["tenant"]
        for family in AccessCollector(access).collect()
        for sample in family.samples
        if "tenant" in sample.labels
    }
    assert told == set(NAMES)


def test_who_is_gone_is_not_remembered(tmp_path: Path) -> None:
    """Who scrapes is found out in a thread, and may be found by a file that holds no more."""

    class Reloading(Clock):
        """At the first look at it, bob is taken out of the file."""

        access: Access | None = None

        def __call__(self) -> float:
            access, self.access = self.access, None
            if access is not None:
                access.path.write_text(tenants("alice"))
                assert access.reload()
            return super().__call__()

    clock = Reloading()
    access = access_of(tenants("alice", "bob"), tmp_path, clock)
    sent = headers(key_of("bob")[0])
    clock.access = access
    assert caller(access, "alice")
    assert isinstance(access.caller(sent), Refused)
    access.path.write_text(tenants("alice", "bob"))
    access.reload()
    clock.access = access
    assert isinstance(access.caller(sent), Caller)  # it came before
    for again in (sent, headers(key_of("bob")[0])):
        assert isinstance(access.caller(again), Refused)


async def test_whatever_is_raised_quotas_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    access, written = access_of(tenants(*NAMES), tmp_path, Clock()), asyncio.Event()
    access.charge(caller(access, "bob"), 30)
    loop, counts = asyncio.get_running_loop(), access.counts.all
    asked: Any = counts.today
    odd = [ZeroDivisionError("odd")]

    def today(*arguments: Any) -> Any:
        if odd:
            raise odd.pop()
        loop.call_soon_threadsafe(written.set)
        return asked(*arguments)

    monkeypatch.setattr(counts, "today", today)
    file = QuotaFile(tmp_path, access, 0.001)
    file.start()
    await asyncio.wait_for(written.wait(), 20)
    odd.append(ZeroDivisionError("odd"))
    await file.stop()
    assert "ZeroDivisionError: odd" in caplog.text
    assert json.loads((tmp_path / NAME).read_bytes())["tenants"] == {"bob": [30, 0]}
