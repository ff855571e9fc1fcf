"""A process of the generator: see `cascade_loadtest.generator.processes`."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from pathlib import Path

import uvloop

from cascade_loadtest.generator.asking import Asking, closed_loop
from cascade_loadtest.generator.plan import Plan


async def carry_out(plan: Plan) -> None:
    """Connect, wait for the start signal, make the calls, and print the result."""
    if plan.in_flight:
        print("ready", flush=True)
        per_s, refused, cpu = await closed_loop(plan)
        print(json.dumps({"per_s": per_s, "refused": refused, "cpu": cpu}))
        return
    asking = Asking(plan)
    await asking.connect()
    # Later collections skip existing objects: collecting them would cause lag.
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    tally = await asking.run(float(line))
    print(json.dumps(tally.as_json()))


def main() -> None:
    """Carry out the plan in the given file."""
    try:
        uvloop.run(carry_out(Plan.read(Path(sys.argv[1]))))
    except (OSError, TimeoutError, RuntimeError) as exc:
        sys.exit(f"{type(exc).__name__}: {exc}")


if __name__ == "__main__":
    main()
