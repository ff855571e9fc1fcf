"""How many rows a tenant may have, where many ask at once, or go before they are answered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cascade_server.access.access import Access
from cascade_server.access.grants import Caller
from cascade_server.errors import OverAllowance
from cascade_server.services.allowance import Allowance

from tests.server.access.examples import Clock, access_of, headers, key_of, lines

TENANTS = f"""
tenants:
  batch:
    keys: {lines("batch")}
    tables: "*"
    may: [generate, jobs]
    quotas: {{rows: 100}}
"""


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return access_of(TENANTS, tmp_path, Clock())


@pytest.fixture
def caller(access: Access) -> Caller:
    found = access.caller(headers(key_of("batch")[0]))
    assert isinstance(found, Caller)
    return found


class Ledger:
    """Writes jobs down once it is let: until then all of them wait for the disk."""

    def __init__(self, allowance: Allowance, caller: Caller) -> None:
        self._allowance, self._caller = allowance, caller
        self.waiting, self.goes_on = 0, asyncio.Event()

    async def submit(self, rows: int, is_new: bool = True, fails: bool = False) -> str:
        try:
            async with self._allowance.job(self._caller, rows) as hold:
                self.waiting += 1
                await self.goes_on.wait()
                if fails:
                    raise ValueError("no room")
                hold.is_new = is_new
        except (OverAllowance, ValueError) as exc:
            return type(exc).__name__
        return "taken"


class TestJobs:
    """A day's rows last for so many jobs, whenever they are submitted."""

    async def test_many_at_once(self, access: Access, caller: Caller) -> None:
        ledger = Ledger(Allowance(access), caller)
        asked = [asyncio.create_task(ledger.submit(40)) for _ in range(10)]
        await asyncio.sleep(0)
        ledger.goes_on.set()
        answers = await asyncio.gather(*asked)
        assert sorted(answers) == ["OverAllowance"] * 8 + ["taken"] * 2
        assert access.quota(caller, 20) is None
        assert access.quota(caller, 21) is not None

    async def test_one_that_is_refused_or_was_there_takes_none(
        self, access: Access, caller: Caller
    ) -> None:
        ledger = Ledger(Allowance(access), caller)
        ledger.goes_on.set()
        assert await ledger.submit(90, fails=True) == "ValueError"
        assert await ledger.submit(90, is_new=False) == "taken"
        assert access.quota(caller, 100) is None
        assert access.counts.all.total("answered", caller.slot) == 0

    async def test_one_whose_caller_goes_meanwhile_takes_its_own(
        self, access: Access, caller: Caller
    ) -> None:
        ledger = Ledger(Allowance(access), caller)
        asked = asyncio.create_task(ledger.submit(90))
        await asyncio.sleep(0)
        assert ledger.waiting == 1
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert access.quota(caller, 11) is not None


class TestLongStreams:
    """What is drawn counts before it is sent."""

    async def test_rows_of_who_goes_with_them(self, access: Access, caller: Caller) -> None:
        allowance = Allowance(access)
        assert allowance.drawn(caller, 100) == 0.0
        with pytest.raises(OverAllowance, match="0 are left of the 100 rows"):
            allowance.check(caller)
        with pytest.raises(OverAllowance):
            await allowance.paced(caller, 0.0)
