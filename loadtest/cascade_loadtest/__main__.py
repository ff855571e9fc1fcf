"""Load the default server with Locust's users, and judge what they were given.

    python -m cascade_loadtest --users 8 --seconds 30        as `make loadtest` does
    python -m cascade_loadtest --target 10.0.0.5:8470        a server that is there already

The server is `cascade serve` with no options but a free port. The users are those of
`loadtest/locustfile.py`, in a process of their own; what is promised is in `loadtest/sla.yaml`. The
last line is one JSON object. Exit status: 0, every promise is kept; 1, one is missed, or nothing
could be measured; 2, an option or the file of promises cannot be used.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cascade_client import CascadeError, Client
from rich.console import Console
from rich.table import Table

from cascade_loadtest.errors import LoadFailed, PromiseError
from cascade_loadtest.outcomes import Calls
from cascade_loadtest.scoring import SITUATIONS
from cascade_loadtest.servers import default_server, serving
from cascade_loadtest.sla import Verdict, judge, load

# Beside the package in a checkout.
FOLDER = Path(__file__).resolve().parents[1]
LONGEST_SECONDS, MOST_USERS = 3600.0, 10_000
# Seconds that Locust's users may take to be ready, and that it may then take to end.
START_SECONDS, END_SECONDS = 60.0, 60.0
# That a server may take to be ready, where it is there already.
READY_SECONDS = 5.0
console = Console(highlight=False)


def main() -> None:
    """Serve, load, judge, print."""
    parser = _parser()
    options = parser.parse_args()
    if not 0 < options.seconds <= LONGEST_SECONDS:
        parser.error(f"--seconds is {options.seconds:g}; allowed: above 0, at most 3600")
    if not 0 < options.users <= MOST_USERS:
        parser.error(f"--users is {options.users}; allowed: 1 to {MOST_USERS:,}")
    try:
        promises = load(options.sla, [each.name for each in SITUATIONS])
    except PromiseError as exc:
        parser.error(str(exc))
    try:
        with ExitStack() as stack:
            target = options.target
            if target is None:
                command = default_server(options.repository)
                target = stack.enter_context(serving(command)).target
            found = locust(options, target)
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")
    calls = {name: Calls.from_json(each) for name, each in found["calls"].items()}
    verdicts = judge(promises, calls)
    console.print(table(verdicts))
    print(json.dumps(summary(options, found["seconds"], calls, verdicts)))
    sys.exit(0 if all(each.kept for each in verdicts) else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cascade_loadtest", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--users", type=int, default=8, help="instances of the scoring service")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the load")
    parser.add_argument("--table", default="credit", help="a bundled one: credit or adult")
    parser.add_argument("--sla", type=Path, default=FOLDER / "sla.yaml", help="what is promised")
    parser.add_argument("--repository", type=Path, default=FOLDER.parent / "model_repository")
    parser.add_argument("--target", help="HOST:PORT of a server; one is started where not given")
    return parser


def locust(options: argparse.Namespace, target: str) -> Any:
    """Run Locust without its page; what `outcomes.Recorder` kept of every call.

    Raises:
        LoadFailed: it is not installed, the server is not ready, or Locust did not end as it
            should; says what it wrote last.
    """
    if find_spec("locust") is None:
        raise LoadFailed("Locust is not installed; pip install 'cascade-synthesis[loadtest]'")
    try:
        with Client(target) as client:
            client.wait_ready(READY_SECONDS)
    except CascadeError as exc:
        raise LoadFailed(str(exc)) from exc
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        outcomes = Path(folder) / "outcomes.json"
        command = [sys.executable, "-m", "locust", "-f", str(FOLDER / "locustfile.py")]
        command += ["--headless", "--only-summary", "--host", target]
        command += ["--users", str(options.users), "--spawn-rate", str(options.users)]
        command += ["--load-seconds", str(options.seconds)]
        command += ["--run-time", f"{round(options.seconds + START_SECONDS)}s"]
        command += ["--exit-code-on-error", "0", "--table", options.table]
        command += ["--outcomes", str(outcomes)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                env=_environment(),
                timeout=options.seconds + START_SECONDS + END_SECONDS,
            )
        except subprocess.TimeoutExpired as exc:
            raise LoadFailed(f"Locust did not end within {exc.timeout:.0f} s") from exc
        if done.returncode != 0 or not outcomes.exists():
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise LoadFailed(f"Locust ended with {done.returncode}:\n{said}")
        return json.loads(outcomes.read_text())


def _environment() -> dict[str, str]:
    """This process's, without settings of Locust that would make it another run."""
    return {key: value for key, value in os.environ.items() if not key.startswith("LOCUST_")}


def table(verdicts: Sequence[Verdict]) -> Table:
    """What was promised and what was measured, as a table for people."""
    found = Table("calls", "objective", "promised", "measured", "", title="What was promised")
    for each in verdicts:
        kept = "[green]kept[/green]" if each.kept else "[bold red]MISSED[/bold red]"
        found.add_row(each.calls, each.objective, each.promised, each.measured, kept)
    return found


def summary(
    options: argparse.Namespace,
    seconds: float,
    calls: Mapping[str, Calls],
    verdicts: Sequence[Verdict],
) -> dict[str, Any]:
    """Verdicts and what they are of, for programs."""
    every = sum(each.count for each in calls.values())
    return {
        "kept": all(each.kept for each in verdicts),
        "table": options.table,
        "users": options.users,
        "seconds": round(seconds, 1),
        "calls": every,
        "calls_per_s": round(every / seconds, 1) if seconds else 0.0,
        "failures": {name: dict(each.failures) for name, each in calls.items()},
        "tiers": {name: dict(each.tiers) for name, each in calls.items()},
        "objectives": [asdict(each) for each in verdicts],
    }


if __name__ == "__main__":
    main()
