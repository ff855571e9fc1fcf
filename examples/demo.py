"""`make demo`: start a server, ask it in real time and offline, show how good and fast it is, and
what it is worth to a scoring service."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from cascade_client import Client
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
TABLE = "credit"
# Features that a scoring service would get late: last month's status and bill, and the limit.
LATE = ("limit_bal", "pay_0", "bill_amt1")
ROWS, DRAWS = 4, 200
CALLS = 2000
# Transactions of the scoring service, with which the demo ends, and what it needs.
SCORED = 1500
NEEDED = ("matplotlib", "pyarrow", "sklearn", "xgboost")
START_SECONDS = 60

console = Console(highlight=False)


@contextmanager
def running_server() -> Iterator[str]:
    """`cascade serve` on a free port; yields its address."""
    command = [sys.executable, "-c", "from cascade_cli.program import main; main()", "serve"]
    command += ["--port", "0", "--repository", str(ROOT / "model_repository")]
    console.print("[dim]$ cascade serve --port 0[/dim]")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                console.print("  " + line.rstrip(), style="dim")
                found = re.match(r"serving on (\S+)", line)
                if found:
                    break
            else:
                sys.exit("the server did not start")
            yield found.group(1)
        finally:
            process.terminate()
            process.wait(timeout=START_SECONDS)


def show_real_time(client: Client, rows: list[dict[str, object]]) -> None:
    """Hide three features of held-out rows, and compare the draws with the truth."""
    console.rule("real time: three features late, drawn from p(missing | observed)")
    table = Table("row", "feature", "true value", "five draws", f"middle 80 % of {DRAWS}", box=None)
    inside, total = 0, 0
    for number, row in enumerate(rows[:ROWS]):
        known = {name: value for name, value in row.items() if name not in LATE}
        answer = client.synthesize(
            TABLE, known, draws=DRAWS, columns=list(LATE), seed=number, fidelity="fast"
        )
        for name in LATE:
            draws = [draw[name] for draw in answer.data]
            low, high = np.quantile(draws, [0.1, 0.9])
            shown = "  ".join(f"{value:,}" for value in draws[:5])
            first = str(number + 1) if name == LATE[0] else ""
            table.add_row(
                first, name, f"[bold]{row[name]:,}[/bold]", shown, f"{low:,.0f} … {high:,.0f}"
            )
            inside += int(low <= row[name] <= high)  # type: ignore[operator]
            total += 1
    console.print(table)
    console.print(f"{inside} of {total} true values lie in the middle 80 % of their draws\n")


def show_teacher(client: Client) -> None:
    """Rows of a rare kind from the full model."""
    console.rule("offline: teacher rows of clients who defaulted")
    names = ["limit_bal", "sex", "education", "age", "pay_0", "bill_amt1", "pay_amt1"]
    names.append("default_payment_next_month")
    began = time.perf_counter()
    given = {"default_payment_next_month": 1}
    answer = client.generate(TABLE, 1000, given=given, columns=names, seed=7, kind="rows")
    seconds = time.perf_counter() - began
    table = Table(*names, box=None)
    for row in answer.data[:6]:
        table.add_row(
            *(f"{row[name]:,}" if isinstance(row[name], int) else str(row[name]) for name in names)
        )
    console.print(table)
    console.print(f"… and {len(answer.data) - 6} more in {seconds:.1f} s; {answer.provenance}\n")


def show_latency(client: Client, rows: list[dict[str, object]]) -> None:
    """One row a call, one call after the other."""
    console.rule(f"latency: {CALLS:,} calls, one row, three features late")
    client_ms, server_ms = [], []
    for number in range(CALLS + 200):
        row = rows[number % len(rows)]
        known = {name: value for name, value in row.items() if name not in LATE}
        began = time.perf_counter()
        answer = client.synthesize(TABLE, known, columns=list(LATE), fidelity="fast")
        if number >= 200:  # connections and caches are warm
            client_ms.append(1e3 * (time.perf_counter() - began))
            server_ms.append(1e3 * answer.provenance.timings.total)
    table = Table("ms", "p50", "p90", "p99", box=None)
    for name, values in (("client, round trip", client_ms), ("inside the server", server_ms)):
        table.add_row(name, *(f"{q:.2f}" for q in np.quantile(values, [0.5, 0.9, 0.99])))
    console.print(table)
    console.print()


def show_fidelity(client: Client) -> None:
    """What the release says of itself."""
    console.rule("fidelity of the release, as measured when it was made")
    release = client.describe(TABLE).releases[-1]
    tiers = [tier for tier in ("student", "teacher", "floor") if tier in release.fidelity]
    names = sorted({name for tier in tiers for name in release.fidelity[tier]})
    table = Table("", *tiers, box=None)
    for name in names:
        figures = (release.fidelity[tier].get(name) for tier in tiers)
        table.add_row(name, *("" if value is None else f"{value:.3f}" for value in figures))
    console.print(table)
    console.print(
        "floor: real held-out rows in the place of synthetic ones; nothing need be better\n"
    )


def show_scoring(target: str) -> None:
    """What it is worth to a scoring service, where the packages that score are installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        console.rule("a scoring service with features late")
        console.print(
            f"needs {', '.join(missing)}: pip install 'cascade-synthesis[examples]', then "
            "python -m examples.fraud_scoring"
        )
        return
    from examples.fraud_scoring.__main__ import scored

    scored(target, SCORED, 0, ROOT / "runs" / "fraud_scoring.png")


def read_sample(path: Path) -> list[dict[str, Any]]:
    """Rows of a file of whole numbers, of which some are codes. Python's own reader is enough for
    it, and all there is where the server is installed and nothing else."""
    codes = ("sex", "education", "marriage")
    with path.open(newline="") as file:
        return [
            {name: cell if name in codes else int(cell) for name, cell in row.items()}
            for row in csv.DictReader(file)
        ]


def main() -> None:
    """Run the demo."""
    rows = read_sample(ROOT / "examples" / TABLE / "sample.csv")
    with running_server() as target, Client(target, timeout=30.0) as client:
        client.wait_ready(START_SECONDS)
        show_real_time(client, rows)
        show_teacher(client)
        show_latency(client, rows)
        show_fidelity(client)
        show_scoring(target)


if __name__ == "__main__":
    main()
