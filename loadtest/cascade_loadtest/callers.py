"""Calls by a gRPC library at times set beforehand, from a process of their own.

`open_loop` is a model of what callers do beyond a connection's limit; these are callers themselves:
`AsyncClient` as it comes, or grpc.aio's channel. `offer` starts the processes, this module is what
they run: it reads a plan, one JSON line, connects, prints "ready", waits for a line that says when
to begin (the machine's monotonic seconds), asks, and prints one JSON object, how each call ended
and what it took.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
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
# Seconds from the word to begin to the beginning, and that a process may take to connect.
HEAD_START, CONNECT_SECONDS = 0.2, 30.0


@dataclass(frozen=True)
class Plan:
    """What the callers of one process do.

    Attributes:
        kind: "sdk" or "grpcio".
        target: "host:port".
        table, known, late, draws: of every call, as `AsyncClient.synthesize` has them.
        message: the same, serialised, in base 64.
        due: seconds from the beginning, increasing.
        deadline: seconds that each call has from when it is due.
        connections: the calls go round them.
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


async def carry_out(plan: Plan) -> None:
    """Connect, wait for the word, ask, print."""
    async with AsyncExitStack() as stack:
        connect = {"sdk": sdk, "grpcio": grpcio}[plan.kind]
        calls = [await connect(plan, stack) for _ in range(plan.connections)]
        print("ready", flush=True)
        line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        found = await ask(calls, plan, float(line))
    ends = [str(end) for end in found.ends]
    print(json.dumps({**vars(found), "ends": ends, "seconds": found.seconds.tolist()}))


async def sdk(plan: Plan, stack: AsyncExitStack) -> Call:
    """A client of its own, as a process of a service has."""
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
    """A channel with no option set, but that its connection is shared with no other channel."""
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
    """Call at each of the times."""
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
    """Carry a plan out in some processes, its connections and its calls shared out among them.

    Raises:
        LoadFailed: a process ended before its calls did.
    """
    processes = min(processes, plan.connections)
    shares = [
        Plan(
            **{
                **asdict(plan),
                "due": plan.due[number::processes],
                "connections": len(range(number, plan.connections, processes)),
            }
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
    process.stdin.write(json.dumps(asdict(plan)) + "\n")
    process.stdin.flush()
    return process


if __name__ == "__main__":
    uvloop.run(carry_out(Plan(**json.loads(sys.stdin.readline()))))
