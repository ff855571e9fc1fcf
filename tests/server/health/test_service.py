"""How the server is, for who asks and who watches."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from cascade_client.calls.health import statuses
from cascade_server.health.ability import Vitals
from cascade_server.health.service import LIVENESS, Health, unable_names
from grpc_health.v1 import health_pb2 as pb

SERVING = pb.HealthCheckResponse.SERVING
NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN


class Caller:
    """A call's context: what it is told, and how it ends."""

    def __init__(self, reads: bool = True) -> None:
        self.told: asyncio.Queue[int] = asyncio.Queue()
        self.code: grpc.StatusCode | None = None
        self._reads = reads

    async def write(self, message: pb.HealthCheckResponse) -> None:
        self.told.put_nowait(message.status)
        if not self._reads:
            await asyncio.Event().wait()

    async def abort(self, code: grpc.StatusCode, _: str = "") -> None:
        self.code = code
        raise grpc.aio.AbortError


@pytest.fixture
def health() -> Health:
    return Health(("", "a.Service"))


def watch(health: Health, caller: Caller, service: str = "") -> asyncio.Task[Any]:
    request = pb.HealthCheckRequest(service=service)
    return asyncio.create_task(health.Watch(request, caller))


async def test_who_asks(health: Health) -> None:
    request = pb.HealthCheckRequest(service="a.Service")
    assert (await health.Check(request, Caller())).status == NOT_SERVING
    health.say(SERVING)
    assert (await health.Check(request, Caller())).status == SERVING
    caller = Caller()
    with pytest.raises(grpc.aio.AbortError):
        await health.Check(pb.HealthCheckRequest(service="another"), caller)
    assert caller.code is grpc.StatusCode.NOT_FOUND


async def test_who_watches_is_told_of_each_change_and_then_of_the_end(health: Health) -> None:
    callers = [Caller(), Caller(), Caller()]
    services = ["", "a.Service", "another"]
    tasks = [watch(health, *each) for each in zip(callers, services, strict=True)]
    assert [await each.told.get() for each in callers] == [NOT_SERVING, NOT_SERVING, UNKNOWN]
    health.say(SERVING)
    assert [await each.told.get() for each in callers[:2]] == [SERVING, SERVING]
    await health.leave()
    assert [await each.told.get() for each in callers[:2]] == [NOT_SERVING, NOT_SERVING]
    await asyncio.wait(tasks)
    assert {each.code for each in callers} == {grpc.StatusCode.UNAVAILABLE}
    assert all(each.told.empty() for each in callers)
    health.say(SERVING)
    assert (await health.Check(pb.HealthCheckRequest(), Caller())).status == NOT_SERVING


async def test_a_watcher_that_leaves_takes_no_other_with_it(health: Health) -> None:
    first, second = Caller(), Caller()
    leaving, _ = watch(health, first), watch(health, second)
    assert [await first.told.get(), await second.told.get()] == [NOT_SERVING, NOT_SERVING]
    leaving.cancel()
    await asyncio.wait([leaving])
    health.say(SERVING)
    assert await second.told.get() == SERVING


async def test_a_watcher_that_does_not_read_holds_nobody(health: Health) -> None:
    deaf, other = Caller(reads=False), Caller()
    tasks = [watch(health, deaf), watch(health, other)]
    await deaf.told.get()
    await other.told.get()
    health.say(SERVING)
    assert await other.told.get() == SERVING
    await health.leave(seconds=0)
    assert await other.told.get() == NOT_SERVING
    tasks[0].cancel()
    await asyncio.wait(tasks)


async def test_who_cannot_be_answered_says_so_while_the_others_serve(health: Health) -> None:
    def said(name: str) -> Any:
        return health.Check(pb.HealthCheckRequest(service=name), Caller())

    health.say(SERVING)
    health.cannot(frozenset({"a.Service"}))
    assert [(await said(name)).status for name in ("", "a.Service")] == [SERVING, NOT_SERVING]
    health.cannot(frozenset())
    assert (await said("a.Service")).status == SERVING


async def test_who_loads_or_leaves_is_alive_and_who_is_hopeless_is_not(health: Health) -> None:
    def alive() -> Any:
        return health.Check(pb.HealthCheckRequest(service=LIVENESS), Caller())

    assert (await alive()).status == SERVING
    await health.leave()
    assert (await alive()).status == SERVING
    health.cannot(frozenset({LIVENESS}))
    assert (await alive()).status == NOT_SERVING


async def test_all_names_are_listed() -> None:
    """As a client reads them; one is longer than a byte can say."""
    long = "x" * 300
    health = Health(("", "a.Service", long))
    health.say(SERVING)
    health.cannot(frozenset({long}))
    assert statuses(await health.List(b"", Caller())) == {
        "": "SERVING",
        "a.Service": "SERVING",
        long: "NOT_SERVING",
        LIVENESS: "SERVING",
    }


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x05abc", b"\x08\x01", b"\xff" * 9])
def test_what_is_no_list(message: bytes) -> None:
    with pytest.raises(ValueError, match="no answer of the health service"):
        statuses(message)


@pytest.mark.parametrize(
    ("vitals", "names"),
    [
        (Vitals(), set()),
        (Vitals(frozenset({"b"})), {"s/b"}),
        (Vitals(frozenset({"a", "b"}), True), {"", "s", "other", "s/a", "s/b"}),
        (Vitals(frozenset({"a"}), True, True), {"", "s", "other", "s/a", LIVENESS}),
    ],
)
def test_which_names_say_so(vitals: Vitals, names: set[str]) -> None:
    assert unable_names(vitals, "s", ["other"]) == names
