"""What a run of the load test is told, and what it refuses."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from cascade_loadtest.bundled import ROOT, TARGETS
from cascade_loadtest.schedule.arrivals import PATTERNS
from cascade_loadtest.schedule.profiles import PROFILES, REPLAY
from cascade_loadtest.schedule.traces import SUFFIXES

LONGEST_SECONDS, MOST_USERS, MOST_PER_S = 7 * 86_400.0, 10_000, 1e6
# Calls of a run, which are all drawn before it: some gigabytes.
MOST_CALLS = 20_000_000
# What stands beside a worker while its capacity is measured: nothing, or the offline job.
CAPACITIES = ("alone", "beside")
# What the offline job beside the calls is drawn by.
JOBS = ("full", "fast", "none")
FIDELITIES = ("fast", "auto", "full")


def parser(doc: str) -> argparse.ArgumentParser:
    """Of `python -m cascade_loadtest`, whose docstring says what it is for."""
    shapes = "; ".join(f"{name}: {words}" for name, (words, _) in PROFILES.items())
    found = argparse.ArgumentParser(
        prog="python -m cascade_loadtest",
        description=doc.partition("\n")[0],
        epilog=f"Profiles: {shapes}; {REPLAY}: as the callers of --trace asked.",
    )
    add = found.add_argument
    add("--seconds", type=float, default=30.0, help="of the load; 30")
    add(
        "--profile",
        choices=[*PROFILES, REPLAY],
        default="constant",
        help="calls a second over time",
    )
    add("--load", type=float, default=0.5, help="share of one worker's measured capacity; 0.5")
    add(
        "--rate",
        type=float,
        help="calls a second, in the place of --load; nothing is measured then",
    )
    add(
        "--capacity",
        choices=CAPACITIES,
        default=CAPACITIES[0],
        help="what it is of: one worker alone, or beside the offline job too; alone",
    )
    add("--arrivals", choices=PATTERNS, default=PATTERNS[0], help="when calls are due")
    add(
        "--users",
        type=int,
        default=4,
        help="Locust's users beside, one kind after another; 0: none",
    )
    add("--job", choices=JOBS, default=JOBS[0], help="fidelity of the offline job beside")
    add("--table", choices=sorted(TARGETS), default="credit", help="a bundled one")
    add("--fidelity", choices=FIDELITIES, default=FIDELITIES[0], help="of the open loop's calls")
    add("--connections", type=int, default=4, help="of the open loop")
    add("--processes", type=int, default=1, help="of the open loop")
    add("--trace", type=Path, help=f"a .jsonl or .parquet file for --profile {REPLAY}")
    add("--speed", type=float, default=1.0, help="how much faster than its callers it is replayed")
    add("--record", type=Path, metavar="TRACE", help="write the run's calls there, as a trace")
    add("--seed", type=int, default=0, help="of arrivals and rows")
    add("--sla", type=Path, default=ROOT / "loadtest" / "sla.yaml", help="what is promised")
    add(
        "--report",
        type=Path,
        default=Path("loadtest-report.html"),
        help="HTML, and .json beside it",
    )
    add("--repository", type=Path, default=ROOT / "model_repository")
    add("--target", help="HOST:PORT of a server; one is started where not given")
    return found


def parsed(doc: str, words: Sequence[str] | None = None) -> argparse.Namespace:
    """Options that can be used; another one ends the program with 2, and says what is allowed."""
    of = parser(doc)
    options = of.parse_args(words)
    for name, low, high, allowed in (
        ("seconds", 0.0, LONGEST_SECONDS, f"above 0, at most {LONGEST_SECONDS:,.0f}"),
        ("load", 0.0, 100.0, "above 0, at most 100"),
        ("rate", 0.0, MOST_PER_S, f"above 0, at most {MOST_PER_S:,.0f}"),
        ("speed", 0.0, 1000.0, "above 0, at most 1000"),
        ("connections", 0, 1000, "1 to 1000"),
        ("processes", 0, 256, "1 to 256"),
    ):
        value = getattr(options, name)
        if value is not None and not low < value <= high:
            of.error(f"--{name} is {value:g}; allowed: {allowed}")
    if not 0 <= options.users <= MOST_USERS:
        of.error(f"--users is {options.users}; allowed: 0 to {MOST_USERS:,}")
    if options.seed < 0:
        of.error(f"--seed is {options.seed}; allowed: a whole number from 0 on")
    if options.rate is not None and options.rate * options.seconds > MOST_CALLS:
        of.error(
            f"--rate {options.rate:g} for --seconds {options.seconds:g} are "
            f"{options.rate * options.seconds:,.0f} calls; allowed: {MOST_CALLS:,} of a run"
        )
    if options.record is not None and options.record.suffix not in SUFFIXES:
        of.error(f"--record is {options.record}; allowed: a name ending in {' or '.join(SUFFIXES)}")
    # Said now, not when all has been measured.
    for name in ("report", "record"):
        path = getattr(options, name)
        if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
            of.error(f"--{name} is {path}; allowed: a file in a folder that can be written to")
    if (options.profile == REPLAY) != (options.trace is not None):
        of.error(f"--profile {REPLAY} and --trace FILE need each other")
    return options
