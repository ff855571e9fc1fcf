"""What happens beyond capacity: goodput, late work and tails as the offered load grows.

    python -m benchmarks.overload --table credit

Capacity is measured first (h2load, 32 in flight). Then an open-loop client offers 0.2 to 3 times as
many calls a second, with Poisson arrivals and a deadline each, and measures from the time a call
was due, not from when it got away; an offline flood of `Generate` runs beside it in every second
run. The last line is one JSON object: min_goodput_ratio (the worst goodput beyond the load at which
it peaks, over the peak), late_executions, realtime_p99_ms (of answers, offline flood running, at
half of capacity), realtime_objective_ms, and one entry a load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop
from cascade_proto import synthesis_pb2 as pb
from rich.console import Console

from benchmarks.h2load import LoadFailed, load
from benchmarks.latency import METHOD, cascade, process, request
from benchmarks.tables import ROOT

LOADS = (0.2, 0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0)
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Outcome:
    """One load.

    Attributes:
        load: offered calls a second over capacity.
        offered_per_s, goodput_per_s: calls a second that were due, and answers in their deadline.
        refused, late, failed: shares of the calls: RESOURCE_EXHAUSTED or refused before it was
            late; DEADLINE_EXCEEDED or answered after the deadline; anything else.
        p50_ms, p99_ms: of the answers in time, from when the call was due.
        flood_rows_per_s: offline rows made beside it.
    """

    load: float
    offered_per_s: float
    goodput_per_s: float
    refused: float
    late: float
    failed: float
    p50_ms: float
    p99_ms: float
    flood_rows_per_s: float


async def offer(
    channel: grpc.aio.Channel, message: bytes, per_s: float, seconds: float, deadline: float
) -> list[tuple[str, float]]:
    """Poisson arrivals; outcome and seconds since each was due."""
    call = channel.unary_unary(METHOD)
    loop = asyncio.get_running_loop()
    gaps = np.random.default_rng(0).exponential(1 / per_s, int(per_s * seconds * 1.2) + 10)
    due = np.cumsum(gaps)
    due = due[due < seconds]
    outcomes: list[tuple[str, float]] = []

    async def one(at: float) -> None:
        left = at + deadline - loop.time()
        try:
            if left <= 0:
                raise TimeoutError
            await call(message, timeout=left)
            outcomes.append(("ok", loop.time() - at))
        except TimeoutError:
            outcomes.append(("late", loop.time() - at))
        except grpc.aio.AioRpcError as exc:
            refused = exc.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            refused |= "refused before it was late" in (exc.details() or "")
            late = exc.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            kind = "refused" if refused else "late" if late else exc.code().name
            outcomes.append((kind, loop.time() - at))

    began = loop.time() + 0.05
    tasks = []
    for at in due.tolist():
        wait = began + at - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(began + at)))
    await asyncio.gather(*tasks)
    return outcomes


async def flood(channel: grpc.aio.Channel, table: str, made: list[int]) -> None:
    """Offline rows without end, until cancelled."""
    generate = channel.unary_stream(
        "/cascade.v1.Synthesis/Generate",
        request_serializer=pb.GenerateRequest.SerializeToString,
        response_deserializer=pb.GenerateResponse.FromString,
    )
    while True:
        try:
            async for part in generate(pb.GenerateRequest(table=table, count=100_000)):
                made[0] += part.rows.count
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.05)


async def measure(
    target: str,
    message: bytes,
    options: argparse.Namespace,
    capacity: float,
    x: float,
    flooded: bool,
) -> Outcome:
    """Offer `x` times the capacity."""
    limits = [("grpc.max_receive_message_length", -1)]
    made = [0]
    async with (
        grpc.aio.insecure_channel(target) as channel,
        grpc.aio.insecure_channel(
            target, options=[*limits, ("grpc.use_local_subchannel_pool", 1)]
        ) as beside,
    ):
        background = asyncio.create_task(flood(beside, options.table, made)) if flooded else None
        found = await offer(
            channel, message, x * capacity, options.seconds, options.deadline_ms / 1e3
        )
        if background is not None:
            background.cancel()
            await asyncio.gather(background, return_exceptions=True)
    kinds = [kind for kind, _ in found]
    took = np.array([s for kind, s in found if kind == "ok"])
    intime = took[took <= options.deadline_ms / 1e3]
    others = sum(kind not in ("ok", "refused", "late") for kind in kinds)
    total = len(found)
    return Outcome(
        load=x,
        offered_per_s=round(total / options.seconds, 1),
        goodput_per_s=round(len(intime) / options.seconds, 1),
        refused=round(kinds.count("refused") / total, 4),
        late=round((kinds.count("late") + len(took) - len(intime)) / total, 4),
        failed=round(others / total, 4),
        p50_ms=round(1e3 * float(np.quantile(intime, 0.5)), 3) if len(intime) else float("nan"),
        p99_ms=round(1e3 * float(np.quantile(intime, 0.99)), 3) if len(intime) else float("nan"),
        flood_rows_per_s=round(made[0] / options.seconds, 1),
    )


def late_executions(target: str) -> int:
    """What the server counts of work that was begun after its deadline."""
    with grpc.insecure_channel(target) as channel:
        ask = channel.unary_unary(
            "/cascade.v1.Synthesis/GetStatistics",
            request_serializer=pb.GetStatisticsRequest.SerializeToString,
            response_deserializer=pb.GetStatisticsResponse.FromString,
        )
        return sum(engine.late_starts for engine in ask(pb.GetStatisticsRequest()).engines)


def main() -> None:
    """Measure capacity, then every load, then print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overload", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--deadline-ms", type=float, default=50.0)
    parser.add_argument("--objective-ms", type=float, default=25.0, help="of the real-time p99")
    options = parser.parse_args()
    outcomes: list[tuple[bool, Outcome]] = []
    try:
        with process(*cascade(options.repository)) as target:
            message, _ = request(target, options.table)
            load(target, METHOD, message, 2000, 32)
            capacity = load(target, METHOD, message, 6000, 32).calls_per_s
            console.print(f"capacity: {capacity:,.0f} calls/s")
            for x in LOADS:
                for flooded in (False, True):
                    found = uvloop.run(measure(target, message, options, capacity, x, flooded))
                    outcomes.append((flooded, found))
                    console.print(f"{'flood ' if flooded else '      '}{found}")
            late = late_executions(target)
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")
    print(json.dumps(summary(options, capacity, outcomes, late)))


def summary(
    options: argparse.Namespace,
    capacity: float,
    outcomes: list[tuple[bool, Outcome]],
    late: int,
) -> dict[str, Any]:
    """The JSON object."""
    alone = [each for flooded, each in outcomes if not flooded]
    beside = [each for flooded, each in outcomes if flooded]
    peak = max(range(len(alone)), key=lambda i: alone[i].goodput_per_s)
    worst = min(each.goodput_per_s for each in alone[peak:])
    half = min(beside, key=lambda each: abs(each.load - 0.5))
    return {
        "table": options.table,
        "min_goodput_ratio": round(worst / alone[peak].goodput_per_s, 3),
        "late_executions": late,
        "realtime_p99_ms": half.p99_ms,
        "realtime_objective_ms": options.objective_ms,
        "deadline_ms": options.deadline_ms,
        "capacity_per_s": round(capacity, 1),
        "alone": [asdict(each) for each in alone],
        "beside_a_flood": [asdict(each) for each in beside],
    }


if __name__ == "__main__":
    main()
