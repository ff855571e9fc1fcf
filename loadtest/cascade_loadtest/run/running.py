"""One run, from a server's start to what was found."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cascade_client import CascadeError, Client
from cascade_client.calls.base import checked_target
from cascade_proto import synthesis_pb2 as pb

from cascade_loadtest.bundled import TARGETS, bundled_rows
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.generator.plan import Plan
from cascade_loadtest.generator.processes import Capacity, capacity, offer, offering
from cascade_loadtest.outcomes import Calls, together
from cascade_loadtest.run import mix
from cascade_loadtest.run.beside import LocustUsers, OfflineJobs, locust_users
from cascade_loadtest.run.machine import command, machine
from cascade_loadtest.run.memory import Watch
from cascade_loadtest.run.options import MOST_CALLS
from cascade_loadtest.run.result import Job, Result
from cascade_loadtest.run.server_side import ServerSide, Snapshot, between, gaps
from cascade_loadtest.schedule.profiles import REPLAY, curve
from cascade_loadtest.schedule.recording import given_values
from cascade_loadtest.schedule.traces import TracedCall, read_trace, write_trace
from cascade_loadtest.servers import Served, default_server, serving
from cascade_loadtest.sla import AnyPromise, Verdict, judge

Tell = Callable[[str], None]
# Seconds that a server may take to be ready, where it is there already.
READY_SECONDS = 5.0
# Calls under way while one worker's capacity is measured, which are as many as a connection may
# have; and for how many seconds, a short run's for less.
IN_FLIGHT, CAPACITY_SECONDS = 16, 6.0
# Seconds of calls at the run's rate before it, which are not counted; likewise.
WARM_UP_SECONDS = 3.0


@dataclass(frozen=True)
class _Under:
    """The server under test."""

    target: str
    pid: int | None
    client: Client
    messages: mix.Messages


def run(options: argparse.Namespace, promises: tuple[AnyPromise, ...], tell: Tell) -> Result:
    """Serve, measure, load, judge.

    Args:
        options: see `options.parser`.
        promises: to judge by.
        tell: is told what goes on, in a sentence.

    Raises:
        LoadFailed: there is no server, or what loads it failed.
        TraceError: the trace cannot be used.
    """
    trace = read_trace(options.trace) if options.profile == REPLAY else []
    measured = None
    if options.rate is None and not trace:
        with _Serving(options, tell) as stack:
            under = _under(options, stack)
            if options.capacity == "beside":
                _begin_job(options, stack, under, tell)
            measured = _capacity(under, tell, options)
    with _Serving(options, tell) as stack:
        found = _loaded(options, stack, _under(options, stack), measured, trace, tell)
    verdicts = judge(promises, found.measured())
    if found.server.gone:
        # Whatever was promised: it is not there any more.
        verdicts += (Verdict("server", "there at the end", "yes", "no", False),)
    return replace(found, verdicts=verdicts)


class _Serving(ExitStack):
    """A server that has answered nobody yet; with --target the one that is there."""

    def __init__(self, options: argparse.Namespace, tell: Tell) -> None:
        super().__init__()
        self._options, self._tell = options, tell
        self.served: Served | None = None

    def __enter__(self) -> _Serving:
        super().__enter__()
        if self._options.target is None:
            self._tell("starting the default server")
            folder = self.enter_context(tempfile.TemporaryDirectory(prefix="loadtest-state-"))
            command = default_server(self._options.repository, "--state-dir", folder)
            self.served = self.enter_context(serving(command))
        return self


def _under(options: argparse.Namespace, stack: _Serving) -> _Under:
    try:
        target = checked_target(options.target) if stack.served is None else stack.served.target
    except CascadeError as exc:
        raise LoadFailed(str(exc)) from exc
    client = stack.enter_context(Client(target))
    try:
        client.wait_ready(READY_SECONDS)
    except CascadeError as exc:
        raise LoadFailed(str(exc)) from exc
    rows, column = bundled_rows(options.table), TARGETS[options.table]
    rng = random.Random(options.seed)
    messages = mix.Messages(client, options.table, rows, column, options.fidelity, rng)
    pid = None if stack.served is None else stack.served.pid
    return _Under(target, pid, client, messages)


def _capacity(under: _Under, tell: Tell, options: argparse.Namespace) -> Capacity:
    tell("measuring what one worker answers to a closed loop")
    seconds = min(CAPACITY_SECONDS, options.seconds)
    found = capacity(mix.closed(under.target, under.messages, seconds, IN_FLIGHT))
    tell(f"one worker answers {found.per_s:,.0f} calls/s; {options.load:g} of that are asked for")
    return found


def _loaded(
    options: argparse.Namespace,
    stack: _Serving,
    under: _Under,
    measured: Capacity | None,
    trace: list[TracedCall],
    tell: Tell,
) -> Result:
    per_s = options.rate or (options.load * measured.per_s if measured else 0.0)
    plan = _plan(options, under, per_s, trace)
    if options.record is not None:
        write_trace(options.record, traced(plan, options.table))
    if not trace:
        # With the profile's own callers beside it, the server has learnt what it takes to answer.
        warm = _warm_up(options, under, per_s)
        tell("warming up")
        warmed = together(offer(warm, options.processes).calls).count
    else:
        per_s, warmed = len(plan) / plan.seconds, 0
    asked = _users_table(options.table, under)
    users = stack.enter_context(locust_users(under.target, options.users, asked))
    job = _begin_job(options, stack, under, tell)
    if users is not None:
        tell(f"starting {options.users} of Locust's users")
        users.wait_ready()
    before = Snapshot.take(under.client)
    workers = [each.pid for each in before.statistics.workers]
    watch = Watch(under.pid, workers, plan.seconds)
    began = datetime.now(UTC)
    with offering(plan, options.processes) as load:
        # Said when all connections are there, which takes a while on a busy machine.
        end = time.strftime("%H:%M:%S", time.localtime(time.time() + plan.seconds))
        tell(f"{len(plan):,} calls are due until {end}")
        if job is not None:
            job.begin()
        tally = load.result()
    samples = watch.end()
    if job is not None:
        job.end()
    server = _server_side(under, before)
    given = _end_users(users)
    server = replace(server, notes=(*server.notes, *_notes(options, warmed, asked, stack)))
    every = together(tally.calls)
    return Result(
        options=options,
        command=command(),
        began=began,
        tally=tally,
        per_s=per_s,
        capacity=measured,
        users=given,
        job=None if job is None else Job(options.job, job.rows, job.rows_per_s, job.failed),
        samples=samples,
        server=server,
        gaps=gaps(server, options.table, every.due, every.sent),
        machine=machine(),
    )


def _plan(
    options: argparse.Namespace, under: _Under, per_s: float, trace: list[TracedCall]
) -> Plan:
    if trace:
        rows = bundled_rows(options.table)
        return mix.of_trace(
            under.target,
            under.messages,
            rows,
            trace,
            options.table,
            options.speed,
            options.seconds,
            options.connections,
            options.seed,
        )
    if per_s * options.seconds > MOST_CALLS:
        raise LoadFailed(
            f"{per_s:,.0f} calls/s for {options.seconds:g} s are more than {MOST_CALLS:,}, all of "
            "which are drawn beforehand; --seconds or --load has to be less"
        )
    shape = curve(options.profile, per_s, options.seconds)
    plan = mix.of_profile(
        under.target, under.messages, shape, options.arrivals, options.connections, options.seed
    )
    if not len(plan):
        raise LoadFailed(
            f"no call is due in {options.seconds:g} s at {per_s:g} calls/s; --seconds, --rate or "
            "--load has to be more"
        )
    return plan


def _warm_up(options: argparse.Namespace, under: _Under, per_s: float) -> Plan:
    """The warm-up: constant calls at the run's rate, by other arrivals than the run's."""
    shape = curve("constant", per_s, min(WARM_UP_SECONDS, options.seconds))
    return mix.of_profile(
        under.target, under.messages, shape, options.arrivals, options.connections, options.seed + 1
    )


def _begin_job(
    options: argparse.Namespace, stack: _Serving, under: _Under, tell: Tell
) -> OfflineJobs | None:
    if options.job == "none":
        return None
    tell("submitting the offline job")
    try:
        job = stack.enter_context(OfflineJobs(under.target, options.table, options.job))
        job.wait_begun()
    except CascadeError as exc:
        raise LoadFailed(f"the server takes no job ({exc}); --job none leaves it out") from exc
    return job


def _server_side(under: _Under, before: Snapshot) -> ServerSide:
    """What the server counted. One that is gone has told nothing, and what its callers saw of that
    is what the report is for."""
    try:
        return between(before, Snapshot.take(under.client))
    except CascadeError as exc:
        return ServerSide(gone=str(exc), notes=(f"The server has told nothing at the end: {exc}.",))


def _end_users(users: LocustUsers | None) -> dict[str, Calls] | None:
    if users is None:
        return None
    found: dict[str, Any] = users.end()["calls"]
    return {name: Calls.from_json(each) for name, each in sorted(found.items())}


def _users_table(table: str, under: _Under) -> str:
    """What Locust's users ask for: another bundled table, so that the server's latencies of this
    one are those of the open loop's calls; the same, where the server has no other."""
    served = {each.table for each in under.client.tables(timeout=10)}
    return next((each for each in TARGETS if each in served and each != table), table)


def _notes(
    options: argparse.Namespace, warmed: int, asked: str, stack: _Serving
) -> tuple[str, ...]:
    if stack.served is None:
        return ("The server's latencies are of its last hour, whoever asked.",)
    notes = [f"The server's latencies have the {warmed:,} calls of the warm-up too."]
    if options.users:
        notes.append(f"Locust's users asked for {asked}.")
    return tuple(notes)


def traced(plan: Plan, table: str) -> list[TracedCall]:
    """The calls of a plan as a trace, with the values that they give: bundled rows are nobody's."""
    requests = [pb.SynthesizeRequest.FromString(each) for each in plan.messages]
    return [
        TracedCall(
            float(due),
            table,
            given_values(requests[message].rows, 0),
            requests[message].draws or 1,
            float(deadline),
        )
        for due, message, deadline in zip(plan.due, plan.message, plan.deadline, strict=True)
    ]
