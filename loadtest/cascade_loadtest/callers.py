"""Calls through a gRPC library at predetermined times, from separate processes.

`open_loop` models the behaviour of callers beyond a connection's limit; these are real callers: an
unmodified `AsyncClient`, or grpc.aio's channel. `offer` starts the processes, which run this
module: each reads a plan as one line of text, connects, prints "ready", reads a line with the start
time (the machine's monotonic seconds), makes the calls, and prints one JSON object with the end and
duration of each call.
"""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import grpc
import numpy as np
import uvloop
from cascade_client import AsyncClient, CascadeError, DeadlineExceeded, Overloaded
from numpy.typing import NDArray

from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.open_loop import End, Outcomes
from cascade_loadtest.requests import SYNTHESIZE

Call = Callable[[float], Coroutine[Any, Any, End]]
CODES = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: End.REFUSED,
    grpc.StatusCode.DEADLINE_EXCEEDED: End.GAVE_UP,
}
# Seconds from the start signal to the first call, and most seconds for a process to connect.
HEAD_START, CONNECT_SECONDS = 0.2, 30.0


@dataclass(frozen=True)
class Plan:
    """Calls of one process.

    Attributes:
        kind: "sdk" or "grpcio".
        target: "host:port".
        table, known, late, draws: of every call, as in `AsyncClient.synthesize`.
        message: the same, serialised, in base 64.
        due: seconds from the beginning, increasing.
        deadline: seconds that each call has from when it is due.
        connections: number of connections; calls rotate over them.
    """

    kind: str
    target: str
    table: str
    known: dict[str, Any]
    late: list[str]
    draws: int
    message: str
    due: list[float]
    deadline: float
    connections: int

    def to_line(self) -> str:
        """Return the plan as text without an end of line. Table values have more types than JSON
        supports.
        """
        return base64.b64encode(pickle.dumps(asdict(self))).decode()

    @classmethod
    def from_line(cls, line: str) -> Plan:
        """Parse this program's own output; unsafe for text from other sources."""
        return cls(**pickle.loads(base64.b64decode(line)))


async def carry_out(plan: Plan) -> None:
    """Connect, wait for the start signal, make the calls, and print the result."""
    async with AsyncExitStack() as stack:
        connect = {"sdk": sdk, "grpcio": grpcio}[plan.kind]
        calls = [await connect(plan, stack) for _ in range(plan.connections)]
        print("ready", flush=True)
        line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        found = await ask(calls, plan, float(line))
    ends = [str(end) for end in found.ends]
    print(json.dumps({**vars(found), "ends": ends, "seconds": found.seconds.tolist()}))


async def sdk(plan: Plan, stack: AsyncExitStack) -> Call:
    """Return the call of a separate client, as a service process has."""
    client = await stack.enter_async_context(AsyncClient(plan.target))
    await client.describe(plan.table, timeout=CONNECT_SECONDS)

    async def call(timeout: float) -> End:
        try:
            await client.synthesize(
                plan.table, plan.known, draws=plan.draws, columns=plan.late, timeout=timeout
            )
        except Overloaded:
            return End.REFUSED
        except DeadlineExceeded:
            return End.GAVE_UP
        except CascadeError:
            return End.FAILED
        return End.OK

    return call


async def grpcio(plan: Plan, stack: AsyncExitStack) -> Call:
    """Return the call of a channel without options, except that it shares no connection."""
    alone = [("grpc.use_local_subchannel_pool", 1)]
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(plan.target, options=alone))
    await asyncio.wait_for(channel.channel_ready(), CONNECT_SECONDS)
    synthesize = channel.unary_unary(SYNTHESIZE)
    message = base64.b64decode(plan.message)

    async def call(timeout: float) -> End:
        try:
            await synthesize(message, timeout=timeout)
        except grpc.aio.AioRpcError as exc:
            return CODES.get(exc.code(), End.FAILED)
        return End.OK

    return call


async def ask(calls: list[Call], plan: Plan, begin: float) -> Outcomes:
    """Make the calls at their times."""
    ends = [End.GAVE_UP] * len(plan.due)
    seconds, cpu = np.full(len(plan.due), plan.deadline), time.process_time()
    lags: list[float] = []

    async def one(number: int, due: float) -> None:
        left = due + plan.deadline - time.monotonic()
        if left > 0:
            ends[number] = await calls[number % len(calls)](left)
        seconds[number] = time.monotonic() - due

    async with asyncio.TaskGroup() as group:
        for number, after in enumerate(plan.due):
            due = begin + after
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            lags.append(time.monotonic() - due)
            group.create_task(one(number, due))
    lag = float(np.quantile(lags, 0.99)) if lags else 0.0
    return Outcomes(ends, seconds, lag, time.process_time() - cpu)


def offer(plan: Plan, processes: int) -> Outcomes:
    """Carry out a plan with several processes, which share its connections and calls.

    Raises:
        LoadFailed: a process ended before its calls did.
    """
    processes = min(processes, plan.connections)
    shares = [
        replace(
            plan,
            due=plan.due[number::processes],
            connections=len(range(number, plan.connections, processes)),
        )
        for number in range(processes)
    ]
    started = [_start(share) for share in shares]
    try:
        for each in started:
            assert each.stdout is not None
            if each.stdout.readline().strip() != "ready":
                raise LoadFailed("a caller's process ended before it was ready")
        begin = time.monotonic() + HEAD_START
        found = []
        for each in started:
            assert each.stdin is not None
            each.stdin.write(f"{begin}\n")
            each.stdin.flush()
        for each in started:
            out, _ = each.communicate(timeout=600)
            if each.returncode != 0:
                raise LoadFailed(f"a caller's process ended with {each.returncode}")
            found.append(json.loads(out))
    finally:
        for each in started:
            each.kill()
            with each:  # closes its pipes, and waits for it
                pass
    ends = [End(end) for each in found for end in each["ends"]]
    seconds: NDArray[np.float64] = np.concatenate([each["seconds"] for each in found])
    lag, cpu = max(each["lag"] for each in found), sum(each["cpu"] for each in found)
    return Outcomes(ends, seconds, lag, cpu)


def _start(plan: Plan) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cascade_loadtest.callers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(plan.to_line() + "\n")
    process.stdin.flush()
    return process


if __name__ == "__main__":
    uvloop.run(carry_out(Plan.from_line(sys.stdin.readline())))
