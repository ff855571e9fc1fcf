"""What faults do to callers, and for how long: each beneath a steady load of the SDK's users.

    python -m benchmarks.faults
    python -m benchmarks.faults --only worker-killed,teacher-killed --rate 50

A server of two workers with a state folder, a metrics port and a shared cache is asked at a steady
rate by users of the SDK (`AsyncClient` as it comes; an open loop: a call is due whatever became of
those before it). Then one thing after another goes wrong. Of each: how calls ended, what the SDK
tried again, the longest call, the seconds until calls were answered in time again for a second, and
whether anything that had been counted or made was lost. Faults that need a server of their own, for
its disk or its clock, have one. The last line is one JSON object: lost (calls that raised an error
in a user's face where none was to be), worst_recovery_s, all_kept, and one entry a fault.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from cascade_loadtest.errors import LoadFailed
from rich.console import Console
from rich.table import Table

from benchmarks.load.faults import connections, processes, surroundings
from benchmarks.load.faults.judging import Found, seen, summary
from benchmarks.load.faults.processes import Injected
from benchmarks.load.faults.stage import Stage, staged
from benchmarks.load.faults.steady import Steady, SteadyConfig, late_rows
from benchmarks.load.faults.tritons import kill_triton
from benchmarks.tables import ROOT

console = Console(stderr=True, highlight=False)
# Seconds of load before a fault, and after it has been recovered from.
BEFORE, AFTER = 2.0, 4.0
Inject = Callable[[Stage, str], Injected]
# Of a server of two workers with all that one can have. In this order: what is killed again within
# half a minute is started again after a pause.
OWN: dict[str, Inject] = {
    "worker-killed": processes.kill_worker,
    "teacher-killed": processes.kill_teacher,
    "keeper-killed": processes.kill_keeper,
    "executor-killed": processes.kill_executor,
    "worker-stopped": processes.stop_worker,
    "teacher-stopped": processes.stop_teacher,
    "release-damaged": surroundings.corrupt_release,
    "connections-idle": connections.idle_connections,
    "callers-slow": connections.slow_callers,
}
OTHERS = ("cache-stopped", "connections-cut", "disk-full", "clock-stepped", "triton-killed")
NAMES = (*OWN, *OTHERS)
# What callers are to be told of a process that stands still: that their time is up, and, by the SDK
# without being sent, that others before them were late.
STANDS_STILL = ("DEADLINE_EXCEEDED", "Overloaded")
EXPECTED = {"worker-stopped": STANDS_STILL, "teacher-stopped": STANDS_STILL}
# In which the teacher is asked too, by name.
FULL = SteadyConfig(kinds=("fast", "fast", "auto", "full"))


class Run:
    """Faults one after another.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.found: list[Found] = []

    def wants(self, name: str) -> bool:
        """Whether a fault is asked for."""
        return not self._options.only or name in self._options.only

    def beneath_load(
        self,
        name: str,
        stage: Stage,
        inject: Callable[[], Injected],
        words: str,
        config: SteadyConfig | None = None,
        target: str = "",
    ) -> None:
        """Have a fault happen beneath a load, and keep what was found."""
        table, rate = self._options.table, self._options.rate
        config = config or SteadyConfig()
        load = Steady(
            target or stage.target,
            table,
            late_rows(stage.target, table),
            SteadyConfig(rate, config.clients, config.timeout, config.kinds, config.seeds),
        )
        with load.running():
            time.sleep(BEFORE)
            done = inject()
            time.sleep(AFTER)
        saw = seen(load.calls, done.began, done.over, self._options.in_time_ms / 1e3)
        notes = {**done.notes, "generator_late_ms": round(1e3 * load.lag, 1)}
        self._keep(Found(name, words, saw, done.kept, notes))

    def _keep(self, found: Found) -> None:
        self.found.append(found)
        console.print(json.dumps(found.as_json()))

    @contextmanager
    def or_skipped(self, name: str, words: str) -> Iterator[None]:
        """Keep why a fault cannot be had here."""
        try:
            yield
        except LoadFailed as exc:
            if self._options.strict:
                raise
            self._keep(Found(name, words, skipped=str(exc)))


def main() -> None:
    """Have every fault happen, and print what was found."""
    options = _options()
    run = Run(options)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        scratch = Path(folder)
        repository = scratch / "model_repository"
        shutil.copytree(options.repository, repository)
        try:
            _of_all(run, options, repository, scratch)
            _of_their_own(run, options, repository, scratch)
        except LoadFailed as exc:
            sys.exit(f"error: {exc}")
    console.print(table(run.found))
    found = summary(run.found, EXPECTED)
    print(json.dumps({"table": options.table, "rate": options.rate, "workers": 2, **found}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second")
    parser.add_argument("--in-time-ms", type=float, default=100.0, help="of a call")
    parser.add_argument("--only", default="", help=f"some of {', '.join(NAMES)}")
    parser.add_argument("--strict", action="store_true", help="fail where one cannot be had")
    options = parser.parse_args()
    options.only = tuple(filter(None, options.only.split(",")))
    if unknown := set(options.only) - set(NAMES):
        parser.error(f"--only: {', '.join(sorted(unknown))}; allowed: {', '.join(NAMES)}")
    return options


def _words(inject: Callable[..., Injected]) -> str:
    return (inject.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def _of_all(run: Run, options: argparse.Namespace, repository: Path, scratch: Path) -> None:
    """Faults of one server, one after another."""
    if not any(run.wants(name) for name in (*OWN, "cache-stopped", "connections-cut")):
        return
    given = ["--workers", "2", "--metrics-port", "0", "--state-seconds", "1"]
    with ExitStack() as stack:
        cache = None
        if run.wants("cache-stopped"):
            with run.or_skipped("cache-stopped", _words(surroundings.stop_cache)):
                url, *cache = stack.enter_context(surroundings.valkey(scratch))
                given += ["--cache-url", url]
        stage = stack.enter_context(staged(repository, scratch / "state", *given))
        for name, inject in OWN.items():
            if run.wants(name):
                config = FULL if name.startswith("teacher") else None
                act = partial(inject, stage, options.table)
                run.beneath_load(name, stage, act, _words(inject), config)
        if cache:
            stop, start = cache
            act = partial(surroundings.stop_cache, stop, start)
            words = _words(surroundings.stop_cache)
            run.beneath_load("cache-stopped", stage, act, words, SteadyConfig(seeds=True))
        if run.wants("connections-cut"):
            proxy = stack.enter_context(connections.Proxy(stage.target).running())
            act = partial(connections.cut_connections, stage, options.table, proxy)
            words = _words(connections.cut_connections)
            run.beneath_load("connections-cut", stage, act, words, target=proxy.target)


def _of_their_own(run: Run, options: argparse.Namespace, repository: Path, scratch: Path) -> None:
    """Faults that need a server of their own."""
    small = ("--workers", "2", "--state-seconds", "1")
    if run.wants("disk-full"):
        words = _words(surroundings.fill_disk)
        state = scratch / "small"
        state.mkdir()
        with (
            run.or_skipped("disk-full", words),
            surroundings.small_disk(state) as how,
            staged(repository, state, *small) as stage,
        ):
            act = partial(surroundings.fill_disk, stage, options.table)
            run.beneath_load("disk-full", stage, act, f"{words} ({how})")
    if run.wants("clock-stepped"):
        words = _words(surroundings.skew_clock)
        with (
            run.or_skipped("clock-stepped", words),
            surroundings.steppable_clock() as (variables, step),
            staged(repository, scratch / "clock", *small, environment=variables) as stage,
        ):
            act = partial(surroundings.skew_clock, stage, options.table, step)
            run.beneath_load("clock-stepped", stage, act, words)
    if run.wants("triton-killed"):
        words = _words(kill_triton)
        with run.or_skipped("triton-killed", words):
            kill_triton(run, options.table, repository, words)


def table(found: Sequence[Found]) -> Table:
    """For people."""
    out = Table(
        "fault", "calls", "failed", "tried again", "late", "longest ms", "recovery s", "kept"
    )
    for each in found:
        if each.seen is None:
            out.add_row(each.fault, "skipped:", each.skipped)
            continue
        saw = each.seen
        recovered = "never" if saw.recovery_s is None else f"{saw.recovery_s:.2f}"
        kept = "yes" if all(each.kept.values()) else str([k for k, v in each.kept.items() if not v])
        figures = (saw.calls, dict(saw.failed) or 0, dict(saw.retried) or 0, saw.late)
        out.add_row(each.fault, *map(str, figures), f"{saw.longest_ms:.0f}", recovered, kept)
    return out


if __name__ == "__main__":
    main()
