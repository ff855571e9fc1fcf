"""How fast each core of this machine is from moment to moment, while something else is measured.

A virtual machine's core is shared with others: a loop that only counts, with nothing beside it,
runs at half its speed for seconds at a time. So a benchmark that compares what it measured one
after the other says how fast the cores were meanwhile. Each is asked a fiftieth of the time, by a
process of its own that counts against its own processor time: what it competes with here does not
matter, what slows the core down does.
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
    """Of the cores, as they were; complete once the block of `watched` has ended."""

    def __init__(self) -> None:
        self._cores: list[Samples] = []

    def add(self, core: Samples) -> None:
        """Samples (monotonic seconds, counts a second) of one core."""
        self._cores.append(core)

    def between(self, began: float, ended: float) -> float:
        """The cores' speed between two moments over what it usually was, all cores' mean.

        Raises:
            ValueError: nothing was sampled then.
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
    """Watch the cores that this process may use, as long as the block lasts."""
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
                # It goes on until its input ends.
                out, _ = each.communicate()
                lines = (line.split() for line in out.splitlines())
                speed.add([(float(when), float(counts)) for when, counts in lines])


def sample() -> tuple[float, float]:
    """Monotonic seconds, and counts a second of processor time."""
    began, odd = time.thread_time(), 0
    for i in range(COUNTED):
        odd += i & 1
    return time.monotonic(), COUNTED / (time.thread_time() - began)


def main() -> None:
    """Sample the core that is named until standard input ends, then print what was found."""
    import select

    os.sched_setaffinity(0, {int(sys.argv[1])})
    samples = []
    while not select.select([sys.stdin], [], [], EVERY)[0]:
        samples.append(sample())
    for when, counts in samples:
        print(when, counts)


if __name__ == "__main__":
    main()
