"""What happens beyond capacity: goodput, late work, tails and tiers as the offered load grows.

    python -m benchmarks.overload --table credit --plot docs/figures/overload.svg
    python -m benchmarks.overload --only waiting,waiting_over_many

The server is the default one. Capacity is measured first (h2load, 16 in flight, the student). Then
calls are offered at Poisson times, up to three times as many a second, each with a deadline, and
measured from when each was due; they leave the tier to the server. By turns each load is offered
for two seconds to a server that is started for it, warmed, and ended: no other is there meanwhile,
and none inherits another's budgets and queues.

Who offers them (`--only` takes some of these):

- alone, over_many: callers that refuse what is beyond a connection's limit, over 4 connections and
  over 40; `cascade_loadtest.open_loop`.
- beside_a_flood: the same over 4, beside two endless `Generate` calls.
- waiting, waiting_over_many: callers that wait for their turn as gRPC's channels do by default.
- sdk, sdk_over_many: `AsyncClient` as it comes, in processes of its own; of 64 draws a call, so
  that callers in Python can ask for three times what the server can do. Capacity is of such calls.
- grpcio, grpcio_over_many: grpc.aio's channel likewise; only where it is named.

The last line is one JSON object: min_goodput_ratio (the worst goodput where at least as much is
offered as goodput's peak, over the peak), and likewise _40, _waiting, _waiting_40, _sdk, _sdk_40;
late_executions, over all parts; refused_seen_ratio (of alone and over_many: events that the
table's real-time availability objective counted as bad, over the calls that callers saw refused by
the server, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED and refused streams, or gave up at their deadline;
also refusals_seen, refusals_counted, given_up); realtime_p99_ms (of answers,
beside the flood, at half of capacity), realtime_objective_ms; and one entry a load, with how late
the generator was (lag_ms: where it is more than a few milliseconds, the client is what was
measured), how fast the cores were, and how much of them callers and server took
(callers_cores, server_cores): they share them.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop
from cascade_client import Client
from cascade_loadtest import callers
from cascade_loadtest.core_speed import watched
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.h2load import IN_FLIGHT, WARM_CALLS, load, warm
from cascade_loadtest.open_loop import Outcomes, offer, poisson
from cascade_loadtest.requests import LATE, SYNTHESIZE, late_features
from cascade_loadtest.servers import DEFAULT, default_server, serving
from cascade_proto import synthesis_pb2 as pb
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.load.overload.outcomes import Outcome, Refusals, Stretch, goodput_ratio, outcome
from benchmarks.load.overload.parts import PARTS, Callers, Part
from benchmarks.load.overload.plot import plot
from benchmarks.load.overload.server_counts import ServerCounts, Watch
from benchmarks.tables import ROOT

# In which a flood's first rows are to come; a server that refuses it is no subject. The teacher
# runs where nobody else wants the processor: beside programs that take all of it, minutes.
FLOOD_SECONDS = 240.0
# Of calls for many draws there are fewer by this: each takes some ten times as long.
HEAVY = 10
console = Console(stderr=True, highlight=False)


class Asked:
    """What every caller asks for: the late features of one row, so many draws of them.

    Attributes:
        table, known, late, draws: as the SDK has it.
        fast: the same for the student alone, serialised.
        message: with the tier left to the server.
    """

    def __init__(self, target: str, table: str, draws: int) -> None:
        with Client(target) as client:
            row = client.synthesize(table, {}, timeout=30).data
        self.table, self.draws = table, draws
        self.late = list(row)[:LATE]
        self.known = {name: value for name, value in row.items() if name not in self.late}
        request = pb.SynthesizeRequest.FromString(late_features(target, table)[0])
        if draws > 1:
            request.draws = draws
        self.fast = request.SerializeToString()
        request.fidelity = pb.FIDELITY_AUTO
        self.message = request.SerializeToString()


@dataclass
class Flooded:
    """What floods have been answered.

    Attributes:
        rows: so many.
        refused: what the last call that ended early was told; "": none was.
    """

    rows: int = 0
    refused: str = ""


async def flood(channel: grpc.aio.Channel, table: str, flooded: Flooded) -> None:
    """Offline rows without end, until cancelled."""
    generate = channel.unary_stream(
        "/cascade.v1.Synthesis/Generate",
        request_serializer=pb.GenerateRequest.SerializeToString,
        response_deserializer=pb.GenerateResponse.FromString,
    )
    while True:
        try:
            async for part in generate(pb.GenerateRequest(table=table, count=100_000)):
                flooded.rows += part.rows.count
        except grpc.aio.AioRpcError as exc:
            flooded.refused = f"{exc.code().name}: {exc.details()}"
            await asyncio.sleep(0.05)


class Run:
    """The benchmark, with its options."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._deadline = options.deadline_ms / 1e3
        self._serve = default_server(options.repository)
        self._asked: dict[int, tuple[Asked, float]] = {}

    def capacities(self) -> dict[str, float]:
        """Calls a second of the student, 16 in flight, of the kinds that were asked for."""
        return {
            f"capacity{f'_{draws}_draws' if draws > 1 else ''}_per_s": round(per_s, 1)
            for draws, (_, per_s) in self._asked.items()
        }

    def _of(self, draws: int) -> tuple[Asked, float]:
        """What is asked for, and how often a second it is answered; measured once."""
        if draws not in self._asked:
            with serving(self._serve) as server:
                asked = Asked(server.target, self._options.table, draws)
                self._warm(server.target, asked)
                calls = max(IN_FLIGHT, self._options.calls // (HEAVY if draws > 1 else 1))
                found = load(server.target, SYNTHESIZE, asked.fast, calls, IN_FLIGHT)
            console.print(f"capacity: {found.calls_per_s:,.0f} calls/s of {draws} draws")
            self._asked[draws] = asked, found.calls_per_s
        return self._asked[draws]

    def part(self, part: Part) -> tuple[list[Outcome], list[Stretch]]:
        """Offer every load of a part; by load, and all stretches."""
        options, order = self._options, np.random.default_rng(0)
        asked, capacity = self._of(part.draws)
        loads = [each for each in part.loads if options.loads is None or each in options.loads]
        stretches: dict[float, list[Stretch]] = {each: [] for each in loads}
        with watched() as speed:
            for number in range(options.rounds):
                for each in order.permutation(loads).tolist():
                    due = poisson(each * capacity, options.seconds, seed=number)
                    stretches[each].append(self._stretch(part, asked, due))
                console.print(f"{part.name}: round {number + 1} of {options.rounds}")
        outcomes = [
            outcome(each, some, options.seconds, self._deadline, speed)
            for each, some in stretches.items()
        ]
        for found in outcomes:
            console.print(f"{part.name} {found}")
        return outcomes, [each for some in stretches.values() for each in some]

    def _warm(self, target: str, asked: Asked) -> None:
        """Before a server is asked in earnest."""
        calls = min(self._options.calls, WARM_CALLS) // (HEAVY if asked.draws > 1 else 1)
        calls = max(IN_FLIGHT, calls)
        warm(target, SYNTHESIZE, asked.fast, calls)

    def _stretch(self, part: Part, asked: Asked, due: NDArray[np.float64]) -> Stretch:
        """One load, on a server of its own."""
        with serving(self._serve) as server:
            self._warm(server.target, asked)
            before = ServerCounts.settled(server.target, asked.table)
            watch = Watch(server.pid)
            if part.callers in (Callers.SDK, Callers.GRPCIO):
                with watch:
                    found = self._by_library(part, asked, server.target, due)
                made, making = 0, watch.ended - watch.began
            else:
                found, made, making = uvloop.run(
                    self._by_frames(part, asked, server.target, due, watch)
                )
            counts = ServerCounts.settled(server.target, asked.table).since(before)
        return Stretch(watch.began, watch.ended, found, counts, made, making, watch.cpu)

    def _by_library(
        self, part: Part, asked: Asked, target: str, due: NDArray[np.float64]
    ) -> Outcomes:
        plan = callers.Plan(
            kind=str(part.callers),
            target=target,
            table=asked.table,
            known=asked.known,
            late=asked.late,
            draws=asked.draws,
            message=base64.b64encode(asked.message).decode(),
            due=due.tolist(),
            deadline=self._deadline,
            connections=part.connections,
        )
        return callers.offer(plan, os.cpu_count() or 1)

    async def _by_frames(
        self, part: Part, asked: Asked, target: str, due: NDArray[np.float64], watch: Watch
    ) -> tuple[Outcomes, int, float]:
        flooded, making = Flooded(), time.monotonic()
        limits = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(target, options=limits) as beside:
            floods = [
                asyncio.create_task(flood(beside, asked.table, flooded)) for _ in range(part.floods)
            ]
            try:
                async with asyncio.timeout(FLOOD_SECONDS):
                    while floods and not flooded.rows:
                        await asyncio.sleep(0.01)
            except TimeoutError:
                raise LoadFailed(
                    f"Generate gave no row in {FLOOD_SECONDS:g} s; "
                    f"last refused: {flooded.refused or 'never'}"
                ) from None
            # A flood comes before.
            with watch:
                found = await offer(
                    target,
                    SYNTHESIZE,
                    asked.message,
                    due,
                    self._deadline,
                    part.connections,
                    wait=part.callers is Callers.WAIT,
                )
            for task in floods:
                task.cancel()
            await asyncio.gather(*floods, return_exceptions=True)
        return found, flooded.rows, watch.ended - making


def chosen(names: str | None) -> list[Part]:
    """The parts that `--only` names; those of a whole run where it names none.

    Raises:
        ValueError: there is no such part; says which there are.
    """
    if names is None:
        return [each for each in PARTS if each.default]
    wanted = [name.strip() for name in names.split(",")]
    known = {each.name: each for each in PARTS}
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"--only has {unknown[0]!r}; allowed: {', '.join(known)}")
    return [known[name] for name in wanted]


def figures_of(
    options: argparse.Namespace, found: dict[str, tuple[list[Outcome], list[Stretch]]]
) -> dict[str, Any]:
    """What a run prints, of the parts that it measured."""
    figures: dict[str, Any] = {"table": options.table, "server": DEFAULT}
    for part in PARTS:
        if part.name in found and part.ratio is not None:
            figures[part.ratio] = round(goodput_ratio(found[part.name][0]), 3)
    every = [each for _, stretches in found.values() for each in stretches]
    figures["late_executions"] = sum(each.counts.late_executions for each in every)
    refusing = [each for name in ("alone", "over_many") if name in found for each in found[name][1]]
    refusals = Refusals.in_stretches(refusing)
    if refusals.ratio is not None:
        figures["refused_seen_ratio"] = round(refusals.ratio, 4)
        figures["refusals_seen"], figures["refusals_counted"] = refusals.seen, refusals.spent
        figures["given_up"] = refusals.given_up
    if beside := found.get("beside_a_flood"):
        half = min(beside[0], key=lambda each: abs(each.load - 0.5))
        figures["realtime_p99_ms"] = half.p99_ms
    figures["realtime_objective_ms"] = options.objective_ms
    figures["deadline_ms"] = options.deadline_ms
    figures["rounds"], figures["seconds"] = options.rounds, options.seconds
    return figures | {
        name: [asdict(each) for each in outcomes] for name, (outcomes, _) in found.items()
    }


def numbers(text: str) -> Sequence[float]:
    """Loads, with commas between."""
    return [float(each) for each in text.split(",")]


def main() -> None:
    """Measure capacity, then every load of every part, then print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overload", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--only", metavar="PART[,PART...]", help="all but grpcio's by default")
    parser.add_argument("--loads", type=numbers, help="some of the loads, with commas between")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a stretch of one load")
    parser.add_argument("--rounds", type=int, default=3, help="of a stretch of each load")
    parser.add_argument("--calls", type=int, default=6000, help="that show the capacity")
    parser.add_argument("--deadline-ms", type=float, default=100.0)
    parser.add_argument(
        "--objective-ms", type=float, default=50.0, help="of the real-time p99; the server's own"
    )
    parser.add_argument("--plot", type=Path, help="draw goodput, p99 and tiers there")
    options = parser.parse_args()
    try:
        parts = chosen(options.only)
    except ValueError as exc:
        parser.error(str(exc))
    run = Run(options)
    try:
        found = {part.name: run.part(part) for part in parts}
        figures = figures_of(options, found)
        figures |= run.capacities()
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")
    if options.plot is not None:
        plot(figures, options.plot)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
