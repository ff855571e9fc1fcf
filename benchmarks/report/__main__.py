"""Write the tables of README and docs/ from the figures kept in docs/figures.

    python -m benchmarks.report            after a benchmark's last line was kept there
    python -m benchmarks.report --check    fails where a table is not what its figures say

A page has markers, `<!-- fidelity adult -->`, `<!-- student -->`, `<!-- reload credit -->` or
`<!-- regularisation -->`, each followed by its table and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.report.pages import DOCS, filled
from benchmarks.tables import ROOT


def main() -> None:
    """Write every page, or say which are not up to date."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if a page would")
    options = parser.parse_args()
    stale = []
    for path in [ROOT / "README.md", *sorted(DOCS.glob("**/*.md"))]:
        page = path.read_text()
        new = filled(page, DOCS / "figures")
        if new != page:
            stale.append(path)
            if not options.check:
                path.write_text(new)
                print(f"wrote {path.relative_to(ROOT)}")
    if options.check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.exit(f"{names}: not what docs/figures says; run: python -m benchmarks.report")


if __name__ == "__main__":
    main()
