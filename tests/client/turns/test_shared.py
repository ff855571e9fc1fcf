"""Clients of one event loop that ask the same target wait for turns together."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from cascade_client import AsyncClient
from cascade_client.errors import Overloaded
from cascade_client.turns import shared as shared_turns
from cascade_client.turns.outcomes import TOO_MANY_STREAMS
from cascade_client.turns.queue import Limits
from cascade_client.turns.shared import SHARED_LIMITS, Shared
from cascade_client.turns.tasks import TaskTurns

SOON = 60.0


class Refused(grpc.RpcError):
    """As a server that has too much to do answers."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.RESOURCE_EXHAUSTED

    def details(self) -> str:
        return "too much"

    def trailing_metadata(self) -> tuple[()]:
        return ()


class TurnedAway(Refused):
    """As a connection that has no room for another call."""

    def details(self) -> str:
        return TOO_MANY_STREAMS


def client(
    target: str = "here:1",
    clock: Callable[[], float] = time.monotonic,
    limits: Limits | None = Limits(100, 100),  # noqa: B008 (frozen)
) -> tuple[TaskTurns, Shared]:
    """A client's turns, and with whom it shares them."""
    shared = Shared(target, clock, asyncio.sleep, lambda: 0.5)
    return TaskTurns(limits, clock, asyncio.sleep, lambda: 0.5, shared), shared


async def refused(turns: TaskTurns, times: int) -> None:
    async def call() -> None:
        raise Refused

    for _ in range(times):
        with pytest.raises(Refused):
            await turns.send(call, time.monotonic() + SOON, "fast")


async def answered(turns: TaskTurns) -> None:
    await turns.send(lambda: asyncio.sleep(0), time.monotonic() + SOON, "fast")


def check(turns: TaskTurns) -> None:
    turns.check(time.monotonic() + SOON, "fast")


def waiting(turns: TaskTurns) -> int:
    found = turns.statistics()
    assert found is not None
    return found.waiting


class TestWhatIsLearnt:
    """By one client, of a server or of their process."""

    async def test_what_a_server_refuses_one_the_others_do_not_send(self) -> None:
        (one, _), (other, _) = client(), client()
        await answered(one)
        await answered(other)
        await refused(one, 100)
        with pytest.raises(Overloaded, match="the server has refused most"):
            check(other)
        assert not other.tries_again("fast")
        found = other.statistics()
        assert found is not None
        assert found.refused == 1

    async def test_who_asks_another_server_knows_nothing_of_it(self) -> None:
        (one, _), (beside, _), (other, _) = client(), client(), client("there:1")
        for each in (one, beside, other):
            await answered(each)
        await refused(one, 100)
        check(other)
        assert other.tries_again("fast")

    async def test_who_is_alone_has_a_queue_of_its_own(self) -> None:
        turns, _ = client()
        await refused(turns, 100)
        with pytest.raises(Overloaded):
            check(turns)

    async def test_who_stays_behind_is_alone_again(self) -> None:
        (one, shared), (other, _) = client(), client()
        await answered(one)
        await answered(other)
        await refused(one, 100)
        shared.leave(one)
        check(other)

    async def test_who_does_not_wait_is_told_nothing_by_the_others(self) -> None:
        (one, _), (other, _), (hasty, _) = client(), client(), client(limits=None)
        for each in (one, other, hasty):
            await answered(each)
        await refused(one, 100)
        assert hasty.tries_again("fast")
        check(hasty)
        await answered(hasty)

    async def test_a_full_connection_says_nothing_of_what_all_may_have(self) -> None:
        (one, _), (other, shared) = client(), client()
        await answered(one)
        await answered(other)
        answers = iter([TurnedAway(), None])

        async def call() -> None:
            if (error := next(answers)) is not None:
                raise error

        await one.send(call, time.monotonic() + SOON, "fast")
        turns = shared(other)
        assert turns is not None
        found = turns.statistics()
        assert found is not None
        assert (found.in_flight, found.limit) == (0, SHARED_LIMITS.first)

    async def test_what_is_learnt_ends_with_the_last_client(self) -> None:
        clients = [client() for _ in range(3)]
        for turns, _ in clients:
            await answered(turns)
        here = shared_turns._companies[asyncio.get_running_loop()]
        assert list(here) == ["here:1"]
        for turns, shared in clients[1:]:
            shared.leave(turns)
        # One that is merely forgotten ends too.
        del clients, turns, shared
        gc.collect()
        assert not here

    @pytest.mark.parametrize("is_tls", [False, True])
    async def test_clients_share_with_the_same_credentials(self, is_tls: bool) -> None:
        first, second = (grpc.ssl_channel_credentials() if is_tls else None for _ in "12")
        clients = [AsyncClient("here:1", credentials=each) for each in (first, first, second)]
        one, same, other = (each._turns for each in clients)
        for turns in (one, same, other):
            await answered(turns)
        await refused(one, 100)
        assert not same.tries_again("fast")
        assert other.tries_again("fast") == is_tls
        for each in clients:
            await each.close()

    def test_loops_share_nothing(self) -> None:
        async def one() -> None:
            turns = [client()[0] for _ in range(2)]
            for each in turns:
                await answered(each)
            await refused(turns[0], 100)

        async def other() -> None:
            turns = [client()[0] for _ in range(2)]
            for each in turns:
                await answered(each)
            check(turns[0])

        asyncio.run(one())
        asyncio.run(other())


class TestWaiting:
    """For a turn among the calls of all."""

    async def test_the_calls_of_many_clients_are_no_more_than_the_limit(self) -> None:
        clients = [client()[0] for _ in range(40)]
        for each in clients:
            await answered(each)
        go_on, inside, most = asyncio.Event(), 0, 0

        async def call() -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await go_on.wait()
            inside -= 1

        expiry = time.monotonic() + SOON
        calls = [
            asyncio.create_task(each.send(call, expiry, "fast")) for each in clients for _ in "1234"
        ]
        for _ in range(10):
            await asyncio.sleep(0)
        assert inside == SHARED_LIMITS.first
        assert sum(waiting(each) for each in clients) == len(calls) - SHARED_LIMITS.first
        go_on.set()
        await asyncio.gather(*calls)
        assert sum(waiting(each) for each in clients) == 0

    async def test_who_waits_for_its_own_connection_is_in_nobodys_way(self) -> None:
        (slow, _), (fast, _) = client(limits=Limits(8, 8)), client(limits=Limits(8, 8))
        await answered(slow)
        await answered(fast)
        go_on, expiry = asyncio.Event(), time.monotonic() + SOON
        calls = [
            asyncio.create_task(slow.send(go_on.wait, expiry, "full"))
            for _ in range(2 * SHARED_LIMITS.first)
        ]
        await asyncio.sleep(0)
        # Waits for none of them, though they came before and are more than all may have.
        await answered(fast)
        assert not any(each.done() for each in calls)
        assert waiting(slow) == len(calls) - 8
        go_on.set()
        await asyncio.gather(*calls)

    async def test_the_nearest_deadline_of_all_clients_goes_first(self) -> None:
        (one, _), (other, _) = client(clock=lambda: 0.0), client(clock=lambda: 0.0)
        await answered(one)
        await answered(other)
        go_on, order = asyncio.Event(), []

        def call(name: str) -> Any:
            async def made() -> None:
                order.append(name)
                await go_on.wait()

            return made

        first = [
            asyncio.create_task(one.send(call("first"), SOON, "fast"))
            for _ in range(SHARED_LIMITS.first)
        ]
        await asyncio.sleep(0)
        late = asyncio.create_task(one.send(call("late"), 4.0, "fast"))
        await asyncio.sleep(0)
        soon = asyncio.create_task(other.send(call("soon"), 3.0, "fast"))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(*first, late, soon)
        assert order[len(first) :] == ["soon", "late"]

    async def test_who_is_cancelled_leaves_nothing_behind(self) -> None:
        (one, _), (other, _) = client(), client()
        await answered(one)
        await answered(other)
        go_on, expiry = asyncio.Event(), time.monotonic() + SOON
        calls = [
            asyncio.create_task(one.send(go_on.wait, expiry, "fast"))
            for _ in range(SHARED_LIMITS.first + 5)
        ]
        await asyncio.sleep(0)
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        found = one.statistics()
        assert found is not None
        assert (found.in_flight, found.waiting) == (0, 0)
        await answered(other)
