"""One process of the generator: it makes calls when they are due, and counts the outcomes."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter, deque
from contextlib import suppress

from cascade_proto import synthesis_pb2 as pb

from cascade_loadtest.frames import grpc_headers, grpc_message, grpc_timeout, literals
from cascade_loadtest.generator.clock import Alarm
from cascade_loadtest.generator.connection import OK, Answers, address_of
from cascade_loadtest.generator.plan import Plan
from cascade_loadtest.generator.tally import Tally
from cascade_loadtest.outcomes import Calls

# Reasons why a call was never sent.
LATE_HERE, NO_STREAM = "the generator was late", "no stream was free"
# Seconds between attempts to reconnect.
RECONNECT = 0.02
# Most seconds for a server to accept a connection.
CONNECT_SECONDS = 10.0


def who_answered(response: pb.SynthesizeResponse) -> str:
    """Return the tier of an answer: "pool", "cache", "student" or "teacher"."""
    provenance = response.provenance
    if provenance.from_pool:
        return "pool"
    if provenance.cached:
        return "cache"
    return {pb.TIER_STUDENT: "student", pb.TIER_TEACHER: "teacher"}.get(provenance.tier, "unknown")


class Asking:
    """The calls of one process.

    Every call ends in one way: it is answered, it fails with the server's code, it is given up at
    its deadline, or it is dropped without having been sent.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, self._loop = plan, asyncio.get_running_loop()
        self.tally = Tally(plan.window)
        self._calls = [self.tally.calls.setdefault(name, Calls()) for name in plan.kinds]
        self._head = grpc_headers(plan.target, plan.method)
        self._bodies = [grpc_message(each) for each in plan.messages]
        # As lists: their elements are read one at a time.
        self._due, self._deadline = plan.due.tolist(), plan.deadline.tolist()
        self._connections: list[Answers] = []
        self._turn = 0
        self._begin = 0.0
        self._taken = self._left = 0
        self._waiting: deque[int] = deque()
        self._expiries: list[tuple[float, int]] = []
        self._sent: dict[int, tuple[float, Answers]] = {}
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Open all connections.

        Raises:
            OSError, TimeoutError: nobody listens, or nothing is answered.
        """
        for _ in range(self._plan.connections):
            await self._open()

    async def _open(self) -> None:
        address = address_of(self._plan.target)
        async with asyncio.timeout(CONNECT_SECONDS):
            _, made = await self._loop.create_connection(self._answers, *address)
            await made.ready
        self._connections.append(made)
        self._send_waiting()

    def _answers(self) -> Answers:
        made = Answers(self._ended, lambda: self._lost(made))
        return made

    def _lost(self, connection: Answers) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            if self._left or self._taken < len(self._due):
                task = self._loop.create_task(self._reconnect())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _reconnect(self) -> None:
        while True:
            await asyncio.sleep(RECONNECT)
            with suppress(OSError, TimeoutError):
                await self._open()
                return

    async def run(self, begin: float) -> Tally:
        """Make calls from a time of the monotonic clock on, until every call has ended."""
        self._begin = begin
        self.tally.began = time.time() + begin - time.monotonic()
        cpu = time.process_time()
        alarm = Alarm(self._loop, lambda: self._tick(alarm))
        self._tick(alarm)
        if not self._due:
            self._over.set()
        await self._over.wait()
        alarm.close()
        lasted = time.monotonic() - begin
        self.tally.cpu.append((time.process_time() - cpu) / lasted if lasted > 0 else 0.0)
        for task in self._tasks:
            task.cancel()
        for each in self._connections:
            each.close()
        return self.tally

    def _tick(self, alarm: Alarm) -> None:
        """Start the due calls, give up the late ones, and set the alarm for the next."""
        now = time.monotonic() - self._begin
        while self._taken < len(self._due) and self._due[self._taken] <= now:
            self._take(self._taken)
            self._taken += 1
        now = time.monotonic() - self._begin
        while self._expiries and self._expiries[0][0] <= now:
            self._expire(heapq.heappop(self._expiries)[1])
        soonest = [self._expiries[0][0]] if self._expiries else []
        if self._taken < len(self._due):
            soonest.append(self._due[self._taken])
        if soonest:
            alarm.set(self._begin + min(soonest))
        elif not self._left:
            self._over.set()

    def _take(self, number: int) -> None:
        due = self._due[number]
        now = time.monotonic() - self._begin
        self._left += 1
        self.tally.at(due).due += 1
        self.tally.lag.note(now - due)
        if now >= due + self._deadline[number]:
            self._drop(number, LATE_HERE)
            return
        heapq.heappush(self._expiries, (due + self._deadline[number], number))
        connection = None if self._waiting else self._free()
        if connection is None:
            self._waiting.append(number)
            self._sent[number] = (-1.0, None)  # type: ignore[assignment]
        else:
            self._send(number, connection)

    def _free(self) -> Answers | None:
        """Return the next connection that has room for a call."""
        for _ in self._connections:
            self._turn = (self._turn + 1) % len(self._connections)
            if not self._connections[self._turn].full:
                return self._connections[self._turn]
        return None

    def _send(self, number: int, connection: Answers) -> None:
        now = time.monotonic() - self._begin
        left = self._due[number] + self._deadline[number] - now
        if left <= 0:
            self._drop(number, NO_STREAM)
            return
        block = self._head + literals({"grpc-timeout": grpc_timeout(left)})
        self._sent[number] = (now, connection)
        self.tally.at(self._due[number]).sent += 1
        connection.send(number, block, self._bodies[self._plan.message[number]])

    def _expire(self, number: int) -> None:
        if number not in self._sent:
            return  # it has ended
        sent, connection = self._sent[number]
        if sent < 0:
            self._drop(number, NO_STREAM)
        else:
            connection.expire(number)

    def _drop(self, number: int, why: str) -> None:
        self.tally.dropped[why] += 1
        self._end(number, f"never sent: {why}")

    def _ended(self, number: int, code: str, message: bytes) -> None:
        now = time.monotonic() - self._begin
        sent, _ = self._sent[number]
        if code != OK:
            self._end(number, code)
        else:
            due = self._due[number]
            calls, window = self._calls[self._plan.kind[number]], self.tally.at(due)
            calls.due.note(now - due)
            calls.sent.note(now - sent)
            window.latencies.note(now - due)
            tier = who_answered(pb.SynthesizeResponse.FromString(message))
            calls.tiers[tier] += 1
            window.tiers[tier] += 1
            self._end(number, None)
        self._send_waiting()

    def _end(self, number: int, failure: str | None) -> None:
        self._sent.pop(number, None)
        self._left -= 1
        if failure is not None:
            self._calls[self._plan.kind[number]].failures[failure] += 1
            self.tally.at(self._due[number]).failures += 1
        if not self._left and self._taken == len(self._due):
            self._over.set()

    def _send_waiting(self) -> None:
        while self._waiting:
            number = self._waiting[0]
            if number not in self._sent:
                self._waiting.popleft()  # its deadline has passed
                continue
            connection = self._free()
            if connection is None:
                return
            self._waiting.popleft()
            self._send(number, connection)


async def closed_loop(plan: Plan) -> tuple[float, float, float]:
    """Keep `plan.in_flight` calls under way over one connection, for `plan.seconds`.

    The first third warms the server, and is not counted.

    Returns:
        Calls a second that were answered, the share of the calls that was refused, and the share
        of a processor that this took here.

    Raises:
        OSError: nobody listens.
        RuntimeError: no call was answered, or the connection was lost.
    """
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    head = grpc_headers(plan.target, plan.method) + literals({"grpc-timeout": "10S"})
    bodies = [grpc_message(each) for each in plan.messages]
    ends: Counter[str] = Counter()
    began = counted_from = time.monotonic()
    cpu, sent, warm = time.process_time(), 0, True

    def ask() -> None:
        nonlocal sent
        connection.send(sent, head, bodies[plan.message[sent % len(plan.message)]])
        sent += 1

    def ended(_: int, code: str, __: bytes) -> None:
        nonlocal warm, counted_from
        now = time.monotonic()
        if warm and now - began >= plan.seconds / 3:
            warm, counted_from = False, now
            ends.clear()
        ends[code] += 1
        if over.is_set() or now - began >= plan.seconds:
            over.set()
        else:
            # Not from here: one that is refused at once would ask without end.
            loop.call_soon(ask)

    lost = False

    def gone() -> None:
        nonlocal lost
        lost = not over.is_set()
        over.set()

    connection = Answers(ended, gone)
    await loop.create_connection(lambda: connection, *address_of(plan.target))
    await connection.ready
    for _n in range(plan.in_flight):
        ask()
    await over.wait()
    now = time.monotonic()
    lasted = max(now - counted_from, 1e-9)
    took = (time.process_time() - cpu) / (now - began)
    answered, every = ends[OK], ends.total()
    connection.close()
    if lost:
        raise RuntimeError(f"the connection was lost after {now - began:.1f} s")
    if not answered:
        raise RuntimeError(f"no call was answered; they ended with {dict(ends)}")
    return answered / lasted, (every - answered) / every, took
