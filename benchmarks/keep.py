"""Run a benchmark and keep its last line, one JSON object, in docs/figures.

python -m benchmarks.keep student-adult student --table adult
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from benchmarks.tables import ROOT


def main() -> None:
    """Exit with the benchmark's status; keep nothing of one that failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.keep", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("name", help="of the file in docs/figures")
    parser.add_argument("benchmark", help="a module of benchmarks")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of the benchmark")
    given = parser.parse_args()
    name, benchmark, options = given.name, given.benchmark, given.options
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", *options]
    print(f"$ python {' '.join(command[1:])}", flush=True)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="")
    if done.returncode == 0:
        figures = json.loads(done.stdout.splitlines()[-1])
        path = ROOT / "docs" / "figures" / f"{name}.json"
        path.write_text(json.dumps(figures, indent=2) + "\n")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
