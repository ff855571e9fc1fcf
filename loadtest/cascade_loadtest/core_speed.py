"""Speed of each core of this machine over time, while something else is measured.

A virtual machine's core is shared with others: a loop that only counts runs at half its speed for
seconds at a time, even alone. So a benchmark that compares successive measurements reports how fast
the cores were meanwhile. A separate process samples each core for a fiftieth of the time, and
counts against its own processor time: competition on this machine does not matter, but a slower
core does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from bisect import bisect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import fmean, median

EVERY, COUNTED = 0.025, 6000
Samples = list[tuple[float, float]]


class Speed:
    """Speed of the cores over time; complete once the block of `watched` has ended."""

    def __init__(self) -> None:
        self._cores: list[Samples] = []

    def add(self, core: Samples) -> None:
        """Add samples (monotonic seconds, counts per second) of one core."""
        self._cores.append(core)

    def between(self, began: float, ended: float) -> float:
        """Return the cores' speed between two moments relative to their usual speed, mean over
        cores.

        Raises:
            ValueError: there are no samples in that time.
        """
        found = []
        for core in self._cores:
            at = [when for when, _ in core]
            then = [counts for _, counts in core[bisect(at, began) : bisect(at, ended)]]
            if not then:
                raise ValueError(f"no sample of {ended - began:.3f} s")
            found.append(fmean(then) / median(counts for _, counts in core))
        return fmean(found)


@contextmanager
def watched() -> Iterator[Speed]:
    """Watch the cores that this process may use for the duration of the block."""
    speed = Speed()
    with ExitStack() as watchers:
        started = [
            watchers.enter_context(
                subprocess.Popen(
                    [sys.executable, __file__, str(core)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for core in sorted(os.sched_getaffinity(0))
        ]
        try:
            yield speed
        finally:
            for each in started:
                # The process runs until its input ends.
                out, _ = each.communicate()
                lines = (line.split() for line in out.splitlines())
                speed.add([(float(when), float(counts)) for when, counts in lines])


def sample() -> tuple[float, float]:
    """Return monotonic seconds, and counts per second of processor time."""
    began, odd = time.thread_time(), 0
    for i in range(COUNTED):
        odd += i & 1
    return time.monotonic(), COUNTED / (time.thread_time() - began)


def main() -> None:
    """Sample the given core until standard input ends, then print the samples."""
    import select

    os.sched_setaffinity(0, {int(sys.argv[1])})
    samples = []
    while not select.select([sys.stdin], [], [], EVERY)[0]:
        samples.append(sample())
    for when, counts in samples:
        print(when, counts)


if __name__ == "__main__":
    main()
