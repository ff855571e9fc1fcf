"""Keys of an issuer that come and go: who waits for one, and who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from cascade_server.access.access import Access
from cascade_server.access.deciding import Refused
from cascade_server.access.grants import Caller, Reason
from cascade_server.access.issuers import MOST_SOUGHT, SOON, SPACING
from cascade_server.access.refusals import refusal_for
from cascade_server.access.watching import Watch

from tests.server.access.examples import (
    AUDIENCE,
    ISSUER,
    Clock,
    access_of,
    ec_key,
    headers,
    jwk,
    jwks,
    rsa_key,
    token,
)

OLD, NEW = jwk(rsa_key(), "old"), jwk(ec_key(), "new")


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Issued:
    """A server whose issuer has its keys in a file."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.path, self.clock, self.fetched = folder / "keys.json", clock, 0
        self.publishes(OLD)
        text = f"""
issuers:
  bank: {{issuer: "{ISSUER}", audience: {AUDIENCE}, algorithms: [RS256, ES256], keys: keys.json}}
tenants:
  fraud: {{tokens: [{{issuer: bank, claims: {{sub: svc}}}}]}}
"""
        self.access: Access = access_of(text, folder, clock)

    def publishes(self, *keys: object) -> None:
        self.path.write_bytes(jwks(*keys))  # type: ignore[arg-type]

    async def refresh(self) -> None:
        assert self.access.issuers is not None
        await self.access.issuers.refresh()

    def ask(self, kid: str) -> Caller | Refused:
        algorithm, key = ("ES256", ec_key()) if kid == "new" else ("RS256", rsa_key())
        return self.access.caller(headers(token(self.clock.now, kid, algorithm, key)))

    def waits(self, kid: str) -> float | None:
        """Seconds for which a token's caller is told to wait; None: it is refused for good."""
        found = self.ask(kid)
        assert isinstance(found, Refused), found
        if found.reason is Reason.BAD_CREDENTIAL:
            return None
        assert found.reason is Reason.KEYS_NOT_READY
        return found.seconds


@pytest.fixture
async def issued(tmp_path: Path, clock: Clock) -> Issued:
    found = Issued(tmp_path, clock)
    await found.refresh()
    assert isinstance(found.ask("old"), Caller)
    return found


async def test_who_comes_with_a_new_key_soon_after_a_fetch_waits_for_the_next(
    issued: Issued, clock: Clock
) -> None:
    clock.now += 3
    issued.publishes(OLD, NEW)
    assert issued.waits("new") == pytest.approx(SPACING - 3)
    refused = issued.ask("new")
    assert isinstance(refused, Refused)
    told = refusal_for(refused)
    assert (told.code.name, told.pushback_ms) == ("UNAVAILABLE", 7000)
    clock.now += 6
    await issued.refresh()
    assert issued.waits("new") == pytest.approx(1)
    clock.now += 1
    assert issued.waits("new") == SOON
    await issued.refresh()
    assert isinstance(issued.ask("new"), Caller)


async def test_who_comes_while_keys_are_fetched_waits_for_the_next(
    issued: Issued, clock: Clock
) -> None:
    """Those that are on their way may be of before."""
    clock.now += 3600
    fetching = asyncio.create_task(issued.refresh())
    await asyncio.sleep(0)
    assert issued.waits("new") == SOON
    await fetching
    assert issued.waits("new") == pytest.approx(SPACING)
    issued.publishes(NEW)
    clock.now += SPACING
    await issued.refresh()
    assert isinstance(issued.ask("new"), Caller)


async def test_a_key_that_is_not_there_after_it_was_looked_for_is_refused(
    issued: Issued, clock: Clock
) -> None:
    """Its callers are to get other tokens, and would not while they are told to wait."""
    issued.publishes(NEW)
    clock.now += 3600
    await issued.refresh()
    assert issued.waits("old") == pytest.approx(SPACING)
    clock.now += SPACING
    await issued.refresh()
    for _ in range(3):
        assert issued.waits("old") is None
        clock.now += SPACING
        await issued.refresh()
    issued.publishes(OLD, NEW)  # an issuer may sign before it publishes
    assert issued.waits("old") is None
    clock.now += SPACING
    await issued.refresh()
    assert isinstance(issued.ask("old"), Caller)


async def test_strangers_keep_nobody_out_and_have_the_issuer_asked_no_more_often(
    issued: Issued, clock: Clock
) -> None:
    assert issued.access.issuers is not None
    (held,) = issued.access.issuers._held.values()
    issued.publishes(OLD, NEW)
    before, waited = held.fetches, issued.waits("new")
    assert waited == pytest.approx(SPACING)
    for number in range(20):
        for each in range(MOST_SOUGHT // 10):
            sent = token(clock.now, f"{number}-{each}").rpartition(".")[0] + ".AAAA"
            assert isinstance(issued.access.caller(headers(sent)), Refused)
        assert isinstance(issued.ask("old"), Caller)
        clock.now += 0.5
        await issued.refresh()
    assert isinstance(issued.ask("new"), Caller)
    assert held.fetches == before + 1
    assert len(held.sought) <= MOST_SOUGHT


async def watched(issued: Issued, seconds: float, do: Callable[[Watch], None]) -> None:
    """Do something once keys are kept, and wait until the old one opens no more."""

    async def until(holds: Callable[[], bool]) -> None:
        while not holds():
            await asyncio.sleep(0.001)

    watch = Watch(issued.access, seconds)
    watch.start()
    try:
        await asyncio.wait_for(until(lambda: isinstance(issued.ask("old"), Caller)), 60)
        do(watch)
        await asyncio.wait_for(until(lambda: isinstance(issued.ask("old"), Refused)), 60)
        assert isinstance(issued.ask("new"), Caller)
    finally:
        await watch.stop()


async def test_a_key_that_is_taken_out_of_a_file_opens_no_more(issued: Issued) -> None:
    await watched(issued, 0.005, lambda _: issued.publishes(NEW))


async def test_and_at_once_when_somebody_says_so(issued: Issued) -> None:
    """With nothing else changed, and long before the next look at files."""

    def hang_up(watch: Watch) -> None:
        issued.publishes(NEW)
        watch.look_now()  # as SIGHUP has it

    await watched(issued, 3600.0, hang_up)
