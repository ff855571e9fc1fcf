"""Calls that are not sent since the server refuses most of them."""

from __future__ import annotations

import random
from collections.abc import Callable

import grpc
import pytest
from cascade_client import Client, DeadlineExceeded, InvalidRequest, Overloaded, Retry
from cascade_client.errors import ERRORS, Failure
from cascade_client.sessions.messages import StreamedError
from cascade_client.testing import FakeServer
from cascade_client.turns.outcomes import end_of
from cascade_client.turns.queue import End, Limits, TurnQueue
from cascade_client.turns.throttle import ENOUGH, FADING, LEAST_SENT, SENT_FOR_ONE, Throttle

from tests.client.conftest import Fault, ScriptedService

NOW = 50_000.0


def lots(seed: int = 0) -> Callable[[], float]:
    """Uniform numbers in [0, 1)."""
    return random.Random(seed).random


def offered(throttle: Throttle, now: float, calls: int, takes_every: int) -> tuple[int, int]:
    """Calls that a server is sent which takes one of so many, and those it took."""
    sent, taken, lot = 0, 0, lots()
    for _ in range(calls):
        if throttle.sends(now, lot()):
            sent += 1
            throttle.learn(now, sent % takes_every == 0)
            taken += sent % takes_every == 0
    return sent, taken


def test_all_are_sent_to_who_takes_them() -> None:
    assert offered(Throttle(), NOW, 100, 1) == (100, 100)


def test_all_are_sent_to_who_refuses_few() -> None:
    throttle = Throttle()
    for number in range(100):
        assert throttle.sends(NOW, 0.999)
        throttle.learn(NOW, number % 4 != 0)


def test_a_few_refusals_say_nothing() -> None:
    throttle = Throttle()
    for _ in range(int(ENOUGH) - 1):
        throttle.learn(NOW, False)
    assert throttle.share(NOW) == 1


def test_who_refuses_everything_is_still_asked_now_and_then() -> None:
    throttle = Throttle()
    sent, _ = offered(throttle, NOW, 1000, 10_000)
    assert sent == pytest.approx(LEAST_SENT * 1000, rel=0.2)


def test_what_is_beyond_is_sent_in_proportion_to_what_is_taken() -> None:
    """A server that takes so many a second, and has some wait, of a client that has three times
    as many."""
    throttle, sent, taken, room, lot = Throttle(), 0, 0, 0.0, lots()
    for step in range(3000):
        now, room = NOW + step / 300, min(5.0, room + 1 / 3)
        if throttle.sends(now, lot()):
            takes = room >= 1
            room -= takes
            throttle.learn(now, takes)
            if step >= 1500:
                sent, taken = sent + 1, taken + takes
    assert taken >= 0.9 * 500
    assert sent <= 1.1 * SENT_FOR_ONE * taken


def test_it_is_forgotten() -> None:
    throttle = Throttle()
    for _ in range(100):
        throttle.learn(NOW, False)
    assert throttle.share(NOW) == LEAST_SENT
    assert throttle.share(NOW + 4 * FADING) == 1


def test_who_is_well_again_is_soon_sent_everything() -> None:
    throttle = Throttle()
    for _ in range(100):
        throttle.learn(NOW, False)
    now, lot = NOW, lots()
    while throttle.share(now) < 1:
        now += 0.02
        if throttle.sends(now, lot()):
            throttle.learn(now, True)
    assert now < NOW + 5 * FADING


class TestCallersInTurn:
    """Callers that come one after the other, always in the same order, are all sent alike."""

    @pytest.mark.parametrize("callers", [2, 3, 4, 5, 8, 10])
    @pytest.mark.parametrize(("rate", "capacity"), [(1000, 100), (400, 100), (300, 100), (60, 20)])
    def test_who_is_taken_does_not_depend_on_ones_place(
        self, callers: int, rate: int, capacity: int
    ) -> None:
        throttle, room, draw = Throttle(), 0.0, random.Random(0)
        taken = [0] * callers
        for step in range(60 * rate):
            now, room = NOW + step / rate, min(5.0, room + 2 * draw.random() * capacity / rate)
            if throttle.sends(now, draw.random()):
                takes = room >= 1 and draw.random() < 0.9
                room -= takes
                throttle.learn(now, takes)
                taken[step % callers] += takes
        assert min(taken) >= 0.7 * max(taken)

    @pytest.mark.parametrize("rate", [20, 50, 100, 300])
    @pytest.mark.parametrize("refused", [None, 0, 1, 2, 3, 4])
    def test_all_are_sent_again_seconds_after_an_outage(
        self, rate: int, refused: int | None
    ) -> None:
        """Of five callers, one of whom the server may go on to refuse."""
        throttle, lot, outage, end = Throttle(), lots(), 5.0, 25.0
        # Within so many seconds; with one in five refused there is less to learn from.
        recovered = outage + (7.0 if refused is None else 15.0)
        came, sent = [0] * 5, [0] * 5
        for step in range(int(end * rate)):
            now, caller = step / rate, step % 5
            came[caller] += now >= recovered
            if throttle.sends(NOW + now, lot()):
                throttle.learn(NOW + now, now >= outage and caller != refused)
                sent[caller] += now >= recovered
        assert all(some >= 0.95 * all_ for some, all_ in zip(sent, came, strict=True))


class TestQueue:
    """Each kind of call has its own, and what is not sent is counted as refused."""

    def refused(self, times: int = 20) -> TurnQueue:
        queue = TurnQueue(Limits(first=8, most=8))
        for _ in range(times):
            queue.enter(NOW, NOW + 1, "full")
            queue.leave(NOW, NOW, "full", End.REFUSED)
        return queue

    def test_of_each_kind_by_itself(self) -> None:
        queue = self.refused()
        assert not queue.tries_again(NOW, "full")
        assert queue.tries_again(NOW, "fast")
        lot = lots()
        assert all(queue.sends(NOW, "fast", 0.999) for _ in range(20))
        sent = sum(queue.sends(NOW, "full", lot()) for _ in range(100))
        assert 10 <= sent <= 30
        assert queue.refused == 100 - sent

    @pytest.mark.parametrize("end", [End.LATE, End.FAILED, End.ANSWERED])
    def test_only_refusals_count(self, end: End) -> None:
        queue = TurnQueue(Limits(first=8, most=8))
        for _ in range(20):
            queue.enter(NOW, NOW + 1, "fast")
            queue.leave(NOW, NOW, "fast", end)
        assert queue.tries_again(NOW, "fast")
        assert all(queue.sends(NOW, "fast", 0.999) for _ in range(20))


def test_a_client_that_is_refused_again_and_again_sends_less(
    client: Client, service: ScriptedService
) -> None:
    full = grpc.StatusCode.RESOURCE_EXHAUSTED
    client.describe("people")
    service.faults = [Fault(full) for _ in range(1000)]
    said = []
    for _ in range(60):
        with pytest.raises(Overloaded) as told:
            client.synthesize("people", {})
        said.append(str(told.value))
    unsent = sum("was not sent" in each for each in said)
    assert 40 <= unsent < 60


def test_what_such_a_server_refuses_is_not_tried_again(
    client: Client, service: ScriptedService
) -> None:
    full = grpc.StatusCode.RESOURCE_EXHAUSTED
    client.describe("people")
    service.faults = [Fault(full, pushback="1") for _ in range(1000)]
    for _ in range(60):
        with pytest.raises(Overloaded):
            client.synthesize("people", {})
    # The first is tried four times; of the others hardly any is sent once it is noticed.
    assert 1000 - len(service.faults) <= 4 + 20


class TestMessagesTooLarge:
    """They are their caller's mistake, and say nothing of what the server can take."""

    large = "CLIENT: Sent message larger than max (9 vs. 4)"

    def test_others_are_sent_all_the_same(self, client: Client, service: ScriptedService) -> None:
        full = grpc.StatusCode.RESOURCE_EXHAUSTED
        client.describe("people")
        assert client.turns is not None
        limit = client.turns.limit
        service.faults = [Fault(full, details=self.large) for _ in range(30)]
        for _ in range(30):
            with pytest.raises(InvalidRequest):
                client.synthesize("people", {})
        assert (client.turns.limit, client.turns.refused) == (limit, 0)
        for _ in range(30):
            client.synthesize("people", {})

    @pytest.mark.parametrize("code", list(ERRORS))
    @pytest.mark.parametrize("details", ["as scripted", large])
    def test_the_queue_is_told_what_the_caller_is(
        self, code: grpc.StatusCode, details: str
    ) -> None:
        refused = {Overloaded: End.REFUSED, DeadlineExceeded: End.LATE}
        told = type(Failure(code, details).error("host:1"))
        assert end_of(StreamedError(code, details)) is refused.get(told, End.FAILED)


class TestFakeServers:
    """A client that has learnt to hold back asks now and then, though no time passes."""

    def test_blocking(self) -> None:
        server = FakeServer({"people": [{"age": 1}]})
        server.refuse(Overloaded("busy"), times=20)
        with server.client(retry=Retry(attempts=1)) as client:
            said = [self.answered(client) for _ in range(300)]
        assert sum(said[-100:]) >= 10
        assert not any(said[:20])

    async def test_asyncio(self) -> None:
        server = FakeServer({"people": [{"age": 1}]})
        server.refuse(Overloaded("busy"), times=20)
        said = []
        async with server.async_client(retry=Retry(attempts=1)) as client:
            for _ in range(300):
                try:
                    await client.synthesize("people", {})
                    said.append(True)
                except Overloaded:
                    said.append(False)
        assert sum(said[-100:]) >= 10
        assert not any(said[:20])

    def answered(self, client: Client) -> bool:
        try:
            client.synthesize("people", {})
        except Overloaded:
            return False
        return True
