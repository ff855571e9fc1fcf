"""A process of the idle scheduling class that counts, and does nothing else, until its input ends.

It is what a job can at best be to its neighbours: it takes no memory, no disk and no lock. What
calls notice of it, the machine and its scheduler owe, and not whoever makes rows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

NICENESS = 19


@contextmanager
def counting(processes: int) -> Iterator[None]:
    """Have so many count beside the block."""
    command = [sys.executable, "-m", "benchmarks.peers.idle_counter"]
    with ExitStack() as stack:
        for _ in range(processes):
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            assert process.stdin is not None
            assert process.stdout is not None
            stack.callback(process.stdin.close)
            process.stdout.readline()
        yield


def main() -> None:
    """Count; nothing is asked for but `--help`."""
    argparse.ArgumentParser(
        prog="python -m benchmarks.peers.idle_counter",
        description=(__doc__ or "").partition("\n")[0],
    ).parse_args()
    os.nice(NICENESS)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    def end() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
    print("counting", flush=True)
    number = 0
    while True:
        number += 1


if __name__ == "__main__":
    main()
