"""What a server costs that nobody asks: the processor time of each of its processes.

The default server, once it has made what its pool is to have: fresh, and after calls of many
different conditions, which it remembers. Time is the kernel's of every thread
(/proc/PID/task/*/schedstat, in nanoseconds), not in its ticks of 10 ms.

The last line is JSON: by process, percent of one core, and `total_percent` of the worse of the two.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
from cascade_client import Client
from cascade_loadtest.servers import Served, default_server, serving

from benchmarks.tables import ROOT

# A teacher that uses less of a core has stopped making rows.
STILL_PERCENT, LOOKS = 0.5, 3


def used(pid: int) -> float:
    """Seconds that the threads of a process have run."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in files) / 1e9


def roles(server: int) -> dict[str, int]:
    """The server's processes, by what they do; workers are those that are not nice."""
    children = sorted(psutil.Process(server).children(), key=lambda each: each.pid)
    workers = [each.pid for each in children if each.nice() == 0]
    found = {"supervisor": server}
    found |= {f"worker {number}": pid for number, pid in enumerate(workers)}
    teachers = [each.pid for each in children if each.nice() > 0]
    return found | dict(zip(("teacher",), teachers, strict=False))


def percents(processes: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Of one core, by process, over some seconds from now."""
    before = {name: used(pid) for name, pid in processes.items()}
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return {
        name: round(100 * (used(pid) - before[name]) / took, 3) for name, pid in processes.items()
    }


def settle(processes: Mapping[str, int], seconds: float) -> bool:
    """Wait until the teacher makes no more rows; whether it does not."""
    end, quiet = time.monotonic() + seconds, 0
    teacher = {name: pid for name, pid in processes.items() if name == "teacher"}
    while quiet < LOOKS and time.monotonic() < end:
        still = all(each < STILL_PERCENT for each in percents(teacher, 3.0).values())
        # On a machine that has other things to do it may not have been given a processor.
        quiet = quiet + 1 if still else 0
    return quiet == LOOKS


def ask(target: str, table: str, conditions: int) -> None:
    """Calls of as many conditions, each of which the pool remembers as one that may come again."""
    with Client(target, timeout=60) as client:
        columns = {each.name: each for each in client.describe(table).columns}
        number = next(each for each in columns.values() if each.minimum is not None)
        low, high = float(number.minimum), float(number.maximum)
        for at in range(conditions):
            value = low + (high - low) * at / conditions
            given = {number.name: int(value) if number.kind == "integer" else value}
            client.synthesize(table, given)


def measure(server: Served, options: argparse.Namespace) -> dict[str, object]:
    """Fresh, then after calls."""
    processes = roles(server.pid)
    settled = settle(processes, options.settle_seconds)
    fresh = percents(processes, options.seconds)
    print(f"fresh: {fresh}")
    ask(server.target, options.table, options.conditions)
    settled = settle(processes, options.settle_seconds) and settled
    after = percents(processes, options.seconds)
    print(f"after {options.conditions} calls: {after}")
    return {
        "total_percent": round(max(sum(fresh.values()), sum(after.values())), 3),
        "fresh": fresh,
        "after_calls": after,
        "settled": settled,
        "conditions": options.conditions,
        "seconds": options.seconds,
    }


def main() -> None:
    """Start a server and let it be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--table", default="credit")
    parser.add_argument("--conditions", type=int, default=1000, help="calls before the second look")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each look")
    parser.add_argument("--settle-seconds", type=float, default=60.0, help="at most, before a look")
    options = parser.parse_args()
    with serving(default_server(options.repository)) as server:
        print(json.dumps(measure(server, options)))


if __name__ == "__main__":
    main()
