"""Load the default server at a rate that it is to stand, and judge what callers were given.

    python -m cascade_loadtest                               as `make loadtest` does
    python -m cascade_loadtest --profile spikes --load 1     to one worker's capacity, now and then
    python -m cascade_loadtest --target 10.0.0.5:8470        a server that is there already

The server is `cascade serve` with no options but a free port and a folder of its own. What one
worker can do is measured first; then the scoring service's calls come at half of that, whatever
becomes of them (an open loop), with an offline job beside them and Locust's users of
`loadtest/locustfile.py`. What is promised is in `loadtest/sla.yaml`. A report is written as HTML;
the last line is one JSON object. Exit status: 0, every promise is kept; 1, one is missed, or
nothing could be measured; 2, an option or the file of promises cannot be used.
"""

from __future__ import annotations

import json
import signal
import sys

from cascade_client import CascadeError
from rich.console import Console

from cascade_loadtest.errors import LoadFailed, PromiseError, TraceError
from cascade_loadtest.report.page import written
from cascade_loadtest.report.printed import printed
from cascade_loadtest.run.mix import REPLAYED
from cascade_loadtest.run.options import parsed
from cascade_loadtest.run.running import run
from cascade_loadtest.scoring import SITUATIONS
from cascade_loadtest.sla import load
from cascade_loadtest.users.kinds import KINDS


def main() -> None:
    """Serve, load, judge, print."""
    options = parsed(__doc__ or "")
    signal.signal(signal.SIGTERM, _terminated)
    names = (*(each.name for each in SITUATIONS), REPLAYED, *KINDS)
    console, said = Console(highlight=False), Console(stderr=True, highlight=False)
    try:
        promises = load(options.sla, names)
    except PromiseError as exc:
        print(f"error: {exc}", file=sys.stderr)
        sys.exit(2)
    try:
        found = run(options, promises, lambda words: said.print(f"[dim]{words}[/dim]"))
    except TraceError as exc:
        print(f"error: {exc}", file=sys.stderr)
        sys.exit(2)
    except (LoadFailed, CascadeError) as exc:
        sys.exit(f"error: {exc}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    printed(found, console)
    try:
        report = str(written(found, options.report))
        console.print(f"report: {report}", soft_wrap=True)
    except LoadFailed as exc:
        report = None
        print(f"error: {exc}", file=sys.stderr)
    print(json.dumps({**found.summary(), "report": report}))
    sys.exit(0 if found.kept and report else 1)


def _terminated(number: int, _: object) -> None:
    """End as an error does: whatever was started is stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
