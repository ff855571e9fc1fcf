"""What happens beyond capacity: goodput, late work, tails and tiers as the offered load grows.

    python -m benchmarks.overload --table credit --plot docs/figures/overload.svg

Capacity is measured first (h2load, 16 in flight, the student). Then an open-loop client offers 0.2
to 3 times as many calls a second over four connections, at Poisson times, each with a deadline, and
measures from when each was due. The calls leave the tier to the server. All loads are offered
alone, then over 40 connections, then beside an offline flood, two endless `Generate` calls.

A machine is not equally fast all the time, so each load is offered for a second, then another, many
times in changing order, each to a server of its own that knows no other load. The last line is one
JSON object: min_goodput_ratio (the worst goodput where more is offered than goodput's peak, over
the peak), min_goodput_ratio_40 (likewise, over 40 connections), late_executions, realtime_p99_ms
(of answers, beside the flood, at half of capacity), realtime_objective_ms, and one entry a load,
with how fast the cores were meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import grpc
import numpy as np
import uvloop
from cascade_loadtest.core_speed import Speed, watched
from cascade_loadtest.h2load import LoadFailed, load
from cascade_loadtest.open_loop import End, Outcomes, offer, poisson
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.latency import IN_FLIGHT, METHOD, cascade, process, request
from benchmarks.tables import ROOT

LOADS = (0.2, 0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0)
CONNECTIONS, MANY, FLOODS = 4, 40, 2
# In which a flood's first rows are to come; a server that refuses it is no subject.
FLOOD_SECONDS = 60.0
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Stretch:
    """One load for a second, as its client found it.

    Attributes:
        began, ended: monotonic seconds.
        found: by call.
        made: rows for the flood; 0 where there was none.
        making: seconds that it lasted; it begins first.
    """

    began: float
    ended: float
    found: Outcomes
    made: int
    making: float


@dataclass(frozen=True)
class Outcome:
    """One load, over all its stretches.

    Attributes:
        load: offered calls a second over capacity.
        offered_per_s, goodput_per_s: calls a second that were due, and answers in their deadline.
        refused, late, failed: shares of the calls: refused, by the server or on this side; past
            their deadline; anything else.
        p50_ms, p99_ms: of the answers in time, from when the call was due.
        lag_ms: the .99 quantile of how late this client was, which p50 and p99 include.
        teacher: share of the answers that the teacher gave.
        flood_rows_per_s: offline rows made beside it.
        speed: of the cores meanwhile, over what it usually was.
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
    speed: float


@dataclass(frozen=True)
class Offered:
    """A load, and the server that it is offered to."""

    load: float
    target: str
    stretches: list[Stretch] = field(default_factory=list)


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


async def stretch(
    options: argparse.Namespace,
    message: bytes,
    target: str,
    due: NDArray[np.float64],
    connections: int,
    flooded: bool,
) -> Stretch:
    """Offer calls at some times."""
    made, making = [0], time.monotonic()
    limits = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(target, options=limits) as beside:
        floods = [
            asyncio.create_task(flood(beside, options.table, made))
            for _ in range(FLOODS if flooded else 0)
        ]
        async with asyncio.timeout(FLOOD_SECONDS):
            while flooded and not made[0]:
                await asyncio.sleep(0.01)
        began = time.monotonic()
        found = await offer(target, METHOD, message, due, options.deadline_ms / 1e3, connections)
        ended = time.monotonic()
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
    return Stretch(began, ended, found, made[0], ended - making)


def outcome(
    options: argparse.Namespace, of: Offered, by_tier: dict[int, int], speed: Speed
) -> Outcome:
    """All stretches of a load."""
    deadline, seconds = options.deadline_ms / 1e3, options.seconds * len(of.stretches)
    calls = sum(len(each.found.ends) for each in of.stretches)
    making = sum(each.making for each in of.stretches)
    took = np.concatenate([each.found.in_time(deadline) for each in of.stretches])
    p50, p99 = np.quantile(took, [0.5, 0.99]) if len(took) else (np.nan, np.nan)

    def share(*ends: End) -> float:
        return sum(each.found.share(*ends) * len(each.found.ends) for each in of.stretches) / calls

    return Outcome(
        load=of.load,
        offered_per_s=round(calls / seconds, 1),
        goodput_per_s=round(len(took) / seconds, 1),
        refused=round(share(End.REFUSED, End.REFUSED_HERE), 4),
        late=round(share(End.OK, End.LATE) - len(took) / calls, 4),
        failed=round(share(End.FAILED), 4),
        p50_ms=round(1e3 * float(p50), 3),
        p99_ms=round(1e3 * float(p99), 3),
        lag_ms=round(1e3 * max(each.found.lag for each in of.stretches), 3),
        teacher=round(by_tier.get(pb.TIER_TEACHER, 0) / max(1, sum(by_tier.values())), 4),
        flood_rows_per_s=round(sum(each.made for each in of.stretches) / making, 1),
        speed=round(fmean(speed.between(each.began, each.ended) for each in of.stretches), 3),
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
    parser.add_argument("--seconds", type=float, default=1.0, help="of a stretch of one load")
    parser.add_argument("--rounds", type=int, default=16, help="of a stretch of each load")
    parser.add_argument("--deadline-ms", type=float, default=100.0)
    parser.add_argument(
        "--objective-ms", type=float, default=50.0, help="of the real-time p99; the server's own"
    )
    parser.add_argument("--plot", type=Path, help="draw goodput, p99 and tiers there")
    options = parser.parse_args()
    try:
        alone, late = loads(options)
        many, late_of_many = loads(options, connections=MANY)
        beside, late_beside = loads(options, flooded=True)
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")
    figures = {
        "table": options.table,
        "min_goodput_ratio": round(goodput_ratio(alone), 3),
        f"min_goodput_ratio_{MANY}": round(goodput_ratio(many), 3),
        "late_executions": late + late_of_many + late_beside,
        "realtime_p99_ms": min(beside, key=lambda each: abs(each.load - 0.5)).p99_ms,
        "realtime_objective_ms": options.objective_ms,
        "deadline_ms": options.deadline_ms,
        "capacity_per_s": round(alone[0].offered_per_s / alone[0].load, 1),
        "alone": [asdict(each) for each in alone],
        "over_many": [asdict(each) for each in many],
        "beside_a_flood": [asdict(each) for each in beside],
    }
    if options.plot is not None:
        plot(figures, options.plot)
    print(json.dumps(figures))


def loads(
    options: argparse.Namespace, connections: int = CONNECTIONS, flooded: bool = False
) -> tuple[list[Outcome], int]:
    """Offer every load to a new server of its own.

    Returns:
        By load; and their late executions.
    """
    order = np.random.default_rng(0)
    with ExitStack() as servers:
        every = [
            Offered(load, servers.enter_context(process(*cascade(options.repository))))
            for load in LOADS
        ]
        fast, _ = request(every[0].target, options.table)
        for each in every:
            load(each.target, METHOD, fast, 2000, IN_FLIGHT)
        capacities = [load(each.target, METHOD, fast, 6000, IN_FLIGHT) for each in every]
        capacity = median(each.calls_per_s for each in capacities)
        console.print(f"capacity: {capacity:,.0f} calls/s")
        asked = pb.SynthesizeRequest.FromString(fast)
        asked.fidelity = pb.FIDELITY_AUTO
        message = asked.SerializeToString()
        before = {each.target: answered(each.target) for each in every}
        with watched() as speed:
            for at in range(options.rounds):
                for each in order.permutation(every):  # type: ignore[arg-type]
                    per_s = each.load * capacity
                    due = poisson(per_s, options.seconds, seed=at)
                    found = stretch(options, message, each.target, due, connections, flooded)
                    each.stretches.append(uvloop.run(found))
                console.print(f"round {at + 1} of {options.rounds}")
        outcomes = []
        for each in every:
            by_tier = Counter(answered(each.target))
            by_tier.subtract(before[each.target])
            outcomes.append(outcome(options, each, by_tier, speed))
            console.print(f"{'flood ' if flooded else '      '}{outcomes[-1]}")
        return outcomes, sum(late_executions(each.target) for each in every)


def goodput_ratio(outcomes: Sequence[Outcome]) -> float:
    """The worst goodput of the loads that offer more than goodput's peak, over the peak."""
    peak = max(each.goodput_per_s for each in outcomes)
    return min(each.goodput_per_s for each in outcomes if each.offered_per_s >= peak) / peak


def plot(figures: dict[str, Any], path: Path) -> None:
    """Goodput, p99 and tiers over the offered load, alone and beside the flood."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (goodput, p99, tiers) = pyplot.subplots(
        3, 1, figsize=(7, 8), sharex=True, layout="constrained"
    )
    for key, label in (
        ("alone", "alone"),
        ("over_many", f"over {MANY} connections"),
        ("beside_a_flood", "beside an offline flood"),
    ):
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
