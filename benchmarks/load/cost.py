"""What rows of each tier cost, what pool and student save, and how that grows.

    python -m benchmarks.cost

For each table the default server, with that table alone and a state folder for jobs, is asked by
the SDK: for late features of rows, by the student; for the same with the same seeds, by the cache;
for whole rows, by the pool; for the same late features at full fidelity and by `Generate`, by the
teacher; and for a job. What was used for whom the server says itself, as `cascade cost` does, and
it is charged with the example prices, unless --prices says otherwise. The last line is one JSON
object: usd_per_10k by tier, of the first table, the student's of one draw a call; saved_ratio,
beside having the teacher draw what pool, cache and student gave, and student_saved_ratio, of the
student alone with one draw; peak_memory_mb by tier; idle_usd_per_hour, of a server that nobody
asks; growth with columns (each table) and with draws (of the first one).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cascade_client import Client
from cascade_cost import DEFAULT_PRICES, CostError, Prices, Statement, Usage, load_prices, statement
from cascade_loadtest.servers import default_server, serving
from rich.console import Console

from benchmarks.made_up import only
from benchmarks.tables import ROOT

LATE = 3
DRAWS = (1, 8, 32)
# Seconds in which a call is to be answered, and the pool to have answered so many.
PATIENCE = 120.0
MIB = 2**20
# Seconds after which an answer is counted that its caller has.
COUNTED = 0.1
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Asked:
    """How many of each: calls, rows of `Generate` and of a job."""

    calls: int
    pooled: int
    full: int
    generated: int
    job: int


def known_rows(client: Client, table: str, calls: int) -> list[dict[str, Any]]:
    """Whole rows, which the server has made itself."""
    return client.generate(table, calls, kind="rows", seed=1).data


def student(
    client: Client, table: str, rows: Sequence[Mapping[str, Any]], draws: int, first_seed: int
) -> None:
    """Ask for the first columns of each row, which are late."""
    late = list(rows[0])[:LATE]
    for number, row in enumerate(rows):
        given = {name: value for name, value in row.items() if name not in late}
        client.synthesize(
            table, [given], columns=late, draws=draws, fidelity="fast", seed=first_seed + number
        )


def teacher(client: Client, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The same of the teacher."""
    late = list(rows[0])[:LATE]
    for number, row in enumerate(rows):
        given = {name: value for name, value in row.items() if name not in late}
        client.synthesize(table, [given], columns=late, fidelity="full", seed=number)


def pooled(client: Client, table: str, calls: int) -> int:
    """Ask for whole rows until so many came from the pool, or it has had its time."""
    until, found = time.monotonic() + PATIENCE, 0
    while found < calls and time.monotonic() < until:
        answer = client.synthesize(table, [{}], fidelity="fast")
        found += answer.provenance.from_pool
        if not answer.provenance.from_pool:
            time.sleep(0.05)
    return found


class Measured:
    """What a server of one table has used, phase by phase."""

    def __init__(self, client: Client, table: str, prices: Prices) -> None:
        self._client, self.table, self._prices = client, table, prices

    def bill(self, before: Usage | None = None) -> Statement:
        """A bill of what was used, all of it or after an earlier look."""
        usage = self.look()
        return statement(usage if before is None else usage.since_then(before), self._prices)

    def look(self) -> Usage:
        """What was used so far."""
        time.sleep(COUNTED)
        return self._client.usage()


def measure(
    client: Client,
    table: str,
    asked: Asked,
    prices: Prices,
    draws: Sequence[int],
    idle_seconds: float,
) -> dict[str, Any]:
    """Ask a server of one table for everything, and say what each has cost."""
    measured = Measured(client, table, prices)
    idle_from = measured.look()
    time.sleep(idle_seconds)
    idle = measured.bill(idle_from)
    rows = known_rows(client, table, asked.calls)
    begin = measured.look()
    by_draws = []
    alone: Usage | None = None
    for number, each in enumerate(draws):
        before = measured.look()
        student(client, table, rows, each, 1000 * (number + 1))
        drawn = measured.look().since_then(before)
        alone = alone or drawn
        line = statement(drawn, prices).by_tier()["student"]
        by_draws.append(
            {
                "draws": each,
                "usd_per_10k": money(line.per_10k),
                "usd_per_10k_calls": money(10_000 * line.cost / line.answers),
                "core_ms_a_call": round(1e3 * float(line.core_seconds) / line.answers, 4),
            }
        )
        console.print(table, by_draws[-1])
    student(client, table, rows, 1, 1000)
    given = pooled(client, table, asked.pooled)
    teacher(client, table, rows[: asked.full])
    client.generate(table, asked.generated, kind="rows", seed=2)
    client.submit(table, asked.job, seed=3).wait(20 * PATIENCE, progress=None)
    bill = measured.bill(begin)
    assert alone is not None
    usage = client.usage()
    # Of the student, one draw a call: with more a row costs less and less.
    tiers = bill.by_tier() | {"student": statement(alone, prices).by_tier()["student"]}
    beside = [each for each in alone.compute if each.tier == "student"]
    drawn_by_it = ("teacher", "generate")
    beside += [each for each in usage.since_then(begin).compute if each.tier in drawn_by_it]
    of_student = statement(replace(usage, compute=tuple(beside)), prices).savings.ratio
    console.print(table, {name: money(line.per_10k) for name, line in tiers.items()})
    return {
        "table": table,
        "columns": len(rows[0]),
        "usd_per_10k": {name: money(line.per_10k) for name, line in tiers.items()},
        "rows": {name: line.rows for name, line in tiers.items()},
        "core_ms_a_row": {
            name: round(1e3 * float(line.core_seconds) / line.rows, 4)
            for name, line in tiers.items()
            if line.rows
        },
        "saved_ratio": None if bill.savings.ratio is None else round(bill.savings.ratio, 4),
        "student_saved_ratio": None if of_student is None else round(of_student, 4),
        "peak_memory_mb": peaks(usage),
        "idle_usd_per_hour": money(3600 * float(idle.total.cost) / idle.serving_seconds),
        "pool_calls": given,
        "by_draws": by_draws,
    }


def peaks(usage: Usage) -> dict[str, float]:
    """MiB at the most, by tier: of a worker what is neither the pool's nor the cache's."""
    worker = usage.process("worker")
    kept = worker.pool_bytes + worker.cache_bytes
    found = {
        "student": worker.peak_memory_bytes - kept,
        "pool": worker.pool_bytes,
        "cache": worker.cache_bytes,
        "teacher": usage.process("teacher").peak_memory_bytes,
        "job": usage.process("executor").peak_memory_bytes,
    }
    return {tier: round(size / MIB, 2) for tier, size in found.items()}


def money(amount: Any) -> float | None:
    """To four digits that say something."""
    return None if amount is None else float(f"{float(amount):.4g}")


def main() -> None:
    """Serve each table by itself, ask, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cost", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--tables",
        default="credit,adult,made_up_48,made_up_96",
        help="the first is told of in full; made_up_N is made, with N columns and no training",
    )
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--prices", type=Path, help="a file as docs/cost.md has it")
    parser.add_argument("--calls", type=int, default=200, help="to the student, of each draws")
    parser.add_argument("--pooled", type=int, default=40, help="calls that the pool is to answer")
    parser.add_argument("--full", type=int, default=20, help="calls to the teacher")
    parser.add_argument("--generated", type=int, default=1000, help="rows of Generate")
    parser.add_argument("--job-rows", type=int, default=2000)
    parser.add_argument("--idle-seconds", type=float, default=5.0, help="that nobody asks")
    options = parser.parse_args()
    try:
        prices = DEFAULT_PRICES if options.prices is None else load_prices(options.prices)
    except CostError as exc:
        parser.error(str(exc))
    first, *others = options.tables.split(",")
    found = []
    with tempfile.TemporaryDirectory(prefix="cascade-cost-") as folder:
        for table in (first, *others):
            whole = table == first
            part = 1 if whole else 4
            counts = (
                options.calls,
                options.pooled,
                options.full,
                options.generated,
                options.job_rows,
            )
            asked = Asked(*(max(1, each // part) for each in counts))
            try:
                repository = only(options.repository, table, Path(folder) / "repositories")
            except KeyError:
                sys.exit(f"error: {options.repository} has no release of {table!r}")
            draws = DRAWS if whole else (1,)
            state = Path(folder) / "state" / table
            server = default_server(repository, "--state-dir", str(state))
            with serving(server) as served, Client(served.target, timeout=PATIENCE) as client:
                client.wait_ready(PATIENCE)
                found.append(measure(client, table, asked, prices, draws, options.idle_seconds))
    told = found[0]
    print(
        json.dumps(
            {
                "table": first,
                "currency": prices.currency,
                "prices": prices.source if options.prices is None else "of your own",
                "usd_per_10k": told["usd_per_10k"],
                "saved_ratio": told["saved_ratio"],
                "student_saved_ratio": told["student_saved_ratio"],
                "peak_memory_mb": told["peak_memory_mb"],
                "idle_usd_per_hour": told["idle_usd_per_hour"],
                "rows": told["rows"],
                "core_ms_a_row": told["core_ms_a_row"],
                "by_draws": told["by_draws"],
                "by_columns": [
                    {key: each[key] for key in each if key not in ("by_draws", "pool_calls")}
                    for each in sorted(found, key=lambda each: each["columns"])
                ],
            }
        )
    )


if __name__ == "__main__":
    main()
