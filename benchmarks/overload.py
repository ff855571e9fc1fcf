"""What happens beyond capacity: goodput, late work, tails and tiers as the offered load grows.

    python -m benchmarks.overload --table credit --plot docs/figures/overload.svg

Capacity is measured first (h2load, 16 in flight, the student). Then an open-loop client offers 0.2
to 3 times as many calls a second over four connections, at Poisson times, each with a deadline, and
measures from when each was due. The calls leave the tier to the server. Each load is offered alone
and beside an offline flood, two endless `Generate` calls. All that is done several times, each time
with a new server, since the machine is not equally fast all the time. The last line is one JSON
object: min_goodput_ratio (the worst goodput beyond the load at which it peaks, over the peak) and
realtime_p99_ms (of answers, beside the flood, at half of capacity), medians over the passes;
goodput_ratios, the first of these for each pass; late_executions of all; realtime_objective_ms; and
one entry a load, medians too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from rich.console import Console

from benchmarks.h2load import LoadFailed, load
from benchmarks.latency import IN_FLIGHT, METHOD, cascade, process, request
from benchmarks.open_loop import End, offer, poisson
from benchmarks.tables import ROOT

LOADS = (0.2, 0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0)
CONNECTIONS, FLOODS = 4, 2
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Outcome:
    """One load.

    Attributes:
        load: offered calls a second over capacity.
        offered_per_s, goodput_per_s: calls a second that were due, and answers in their deadline.
        refused, late, failed: shares of the calls: refused, by the server or on this side; past
            their deadline; anything else.
        p50_ms, p99_ms: of the answers in time, from when the call was due.
        lag_ms: the .99 quantile of how late this client was, which p50 and p99 include.
        teacher: share of the answers that the teacher gave.
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
    lag_ms: float
    teacher: float
    flood_rows_per_s: float


@dataclass(frozen=True)
class Pass:
    """One server: its capacity, its late executions, and all loads, alone and beside a flood."""

    capacity_per_s: float
    late_executions: int
    alone: list[Outcome]
    beside: list[Outcome]


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
    made = [0]
    deadline = options.deadline_ms / 1e3
    before = answered(target)
    limits = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(target, options=limits) as beside:
        floods = [
            asyncio.create_task(flood(beside, options.table, made))
            for _ in range(FLOODS if flooded else 0)
        ]
        due = poisson(x * capacity, options.seconds)
        found = await offer(target, METHOD, message, due, deadline, CONNECTIONS)
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
    after = answered(target)
    by_tier = {tier: after.get(tier, 0) - before.get(tier, 0) for tier in after}
    took = found.in_time(deadline)
    p50, p99 = np.quantile(took, [0.5, 0.99]) if len(took) else (np.nan, np.nan)
    return Outcome(
        load=x,
        offered_per_s=round(len(due) / options.seconds, 1),
        goodput_per_s=round(len(took) / options.seconds, 1),
        refused=round(found.share(End.REFUSED, End.REFUSED_HERE), 4),
        late=round(found.share(End.OK, End.LATE) - len(took) / len(due), 4),
        failed=round(found.share(End.FAILED), 4),
        p50_ms=round(1e3 * float(p50), 3),
        p99_ms=round(1e3 * float(p99), 3),
        lag_ms=round(1e3 * found.lag, 3),
        teacher=round(by_tier.get(pb.TIER_TEACHER, 0) / max(1, sum(by_tier.values())), 4),
        flood_rows_per_s=round(made[0] / options.seconds, 1),
    )


def answered(target: str) -> dict[int, int]:
    """Real-time answers so far, by tier."""
    with grpc.insecure_channel(target) as channel:
        stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
        level = stub.GetServiceLevel(pb.GetServiceLevelRequest())
        realtime = pb.CLASS_OF_SERVICE_REALTIME
        return {
            each.tier: each.count for each in level.latencies if each.class_of_service == realtime
        }


def late_executions(target: str) -> int:
    """What the server counts of work that was begun after its deadline."""
    with grpc.insecure_channel(target) as channel:
        stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
        found = stub.GetStatistics(pb.GetStatisticsRequest())
        return sum(engine.late_starts for engine in found.engines)


def main() -> None:
    """Measure capacity, then every load, then print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overload", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--deadline-ms", type=float, default=100.0)
    parser.add_argument(
        "--objective-ms", type=float, default=50.0, help="of the real-time p99; the server's own"
    )
    parser.add_argument("--plot", type=Path, help="draw goodput, p99 and tiers there")
    options = parser.parse_args()
    try:
        passes = [one_pass(options) for _ in range(options.passes)]
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")
    figures = summary(options, passes)
    if options.plot is not None:
        plot(figures, options.plot)
    print(json.dumps(figures))


def one_pass(options: argparse.Namespace) -> Pass:
    """Measure the capacity of a new server, then every load."""
    outcomes: dict[bool, list[Outcome]] = {False: [], True: []}
    with process(*cascade(options.repository)) as target:
        fast, _ = request(target, options.table)
        load(target, METHOD, fast, 2000, IN_FLIGHT)
        capacity = load(target, METHOD, fast, 6000, IN_FLIGHT).calls_per_s
        asked = pb.SynthesizeRequest.FromString(fast)
        asked.fidelity = pb.FIDELITY_AUTO
        message = asked.SerializeToString()
        console.print(f"capacity: {capacity:,.0f} calls/s")
        for x in LOADS:
            for flooded, found in outcomes.items():
                found.append(uvloop.run(measure(target, message, options, capacity, x, flooded)))
                console.print(f"{'flood ' if flooded else '      '}{found[-1]}")
        return Pass(capacity, late_executions(target), outcomes[False], outcomes[True])


def summary(options: argparse.Namespace, passes: Sequence[Pass]) -> dict[str, Any]:
    """The JSON object."""

    def median(values: Iterable[float]) -> float:
        return round(float(np.median(list(values))), 4)

    def loads(by_pass: Sequence[Sequence[Outcome]]) -> list[dict[str, float]]:
        return [
            {key: median(getattr(each, key) for each in same) for key in asdict(same[0])}
            for same in zip(*by_pass, strict=True)
        ]

    alone, beside = loads([each.alone for each in passes]), loads([each.beside for each in passes])
    ratios = [goodput_ratio([load.goodput_per_s for load in each.alone]) for each in passes]
    return {
        "table": options.table,
        "min_goodput_ratio": round(float(np.median(ratios)), 3),
        "late_executions": sum(each.late_executions for each in passes),
        "realtime_p99_ms": min(beside, key=lambda each: abs(each["load"] - 0.5))["p99_ms"],
        "realtime_objective_ms": options.objective_ms,
        "deadline_ms": options.deadline_ms,
        "capacity_per_s": median(each.capacity_per_s for each in passes),
        "goodput_ratios": [round(each, 3) for each in ratios],
        "alone": alone,
        "beside_a_flood": beside,
    }


def goodput_ratio(goodput: Sequence[float]) -> float:
    """The worst goodput from the load on at which it peaks, over the peak; by increasing load."""
    peak = goodput.index(max(goodput))
    return min(goodput[peak:]) / goodput[peak]


def plot(figures: dict[str, Any], path: Path) -> None:
    """Goodput, p99 and tiers over the offered load, alone and beside the flood."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (goodput, p99, tiers) = pyplot.subplots(
        3, 1, figsize=(7, 8), sharex=True, layout="constrained"
    )
    for key, label in (("alone", "alone"), ("beside_a_flood", "beside an offline flood")):
        loads = figures[key]
        x = [each["load"] for each in loads]
        goodput.plot(x, [each["goodput_per_s"] for each in loads], marker="o", label=label)
        p99.plot(x, [each["p99_ms"] for each in loads], marker="o", label=label)
        tiers.plot(x, [100 * each["teacher"] for each in loads], marker="o", label=label)
    offered = [each["offered_per_s"] for each in figures["alone"]]
    goodput.plot(x, offered, color="grey", linestyle=":", label="offered")
    goodput.set_ylim(0, 1.5 * figures["capacity_per_s"])
    p99.axhline(figures["realtime_objective_ms"], color="grey", linestyle=":", label="objective")
    p99.set_ylim(0, 1.1 * figures["deadline_ms"])
    tiers.set_ylim(0, 100)
    goodput.set_ylabel("answers in time, 1/s")
    p99.set_ylabel("p99 of them, ms")
    tiers.set_ylabel("from the teacher, %")
    tiers.set_xlabel("offered load over capacity")
    for axes in (goodput, p99, tiers):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
