"""Parts of the page that other packages provide: jobs, and whatever else a server has.

A section is a name and a function that returns the content each time the page is made. The function
is called from one thread, about once a second while somebody watches, and never during a call. If
it returns None, the section is left out; if it fails, the page says so. Neither affects the rest of
the page. To add one, give `OperationsPage` a `Section`:

    Section("cost", lambda: {
        "title": "Cost",
        "note": "Prices of prices.yaml, in USD.",
        "columns": [
            {"key": "table", "label": "Table"},
            {"key": "usd_per_10k", "label": "per 10,000 rows", "unit": "USD"},
        ],
        "rows": [{"table": "credit", "usd_per_10k": 0.0031}],
        "empty": "Nothing was drawn yet.",
    })

The page shows it as a table, in the order of the rows; numbers are right-aligned, and texts are
shown unchanged. Everything else that the function returns is in `/snapshot.json`, under `sections`
and the name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_jobs.errors import LedgerRefused
from cascade_jobs.job import Job
from cascade_jobs.ledger import NAME, Ledger
from cascade_jobs.states import JobState

from cascade_server.jobs.desk import folder_of

# Most jobs to show: all that have not ended, then the newest that have.
MOST_JOBS = 50
ORDER = (JobState.RUNNING, JobState.PENDING)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: its key in the snapshot; letters, digits and "_".
        provide: returns the content as JSON values; None if there is none now.
    """

    name: str
    provide: Callable[[], Mapping[str, Any] | None]


class JobsSection:
    """Offline jobs, from the ledger.

    Args:
        state_dir: the server's state directory.
        limit_bytes: limit for results in the server's own folder.
    """

    def __init__(self, state_dir: Path, limit_bytes: int) -> None:
        self._path, self._limit = folder_of(state_dir) / NAME, limit_bytes
        self._ledger: Ledger | None = None

    def __call__(self) -> dict[str, Any]:
        """Return the number of jobs and the progress of each, or why the ledger cannot be read."""
        none = {"states": {}, "list": [], "bytes": 0, "limit_bytes": self._limit, "waiting": 0}
        # Showing the page must not create a ledger.
        if not self._path.exists():
            return none
        try:
            if self._ledger is None:
                self._ledger = Ledger(self._path)
            found = self._ledger.statistics()
            newest = self._ledger.jobs(MOST_JOBS, unended_first=True)
        except (LedgerRefused, sqlite3.Error, OSError) as exc:
            self.close()
            return {**none, "unreadable": str(exc)}
        return {
            "states": {str(state): number for state, number in found.states.items()},
            "list": [described(job) for job in in_order(newest)],
            "bytes": found.bytes,
            "limit_bytes": self._limit,
            "waiting": found.waiting,
        }

    def close(self) -> None:
        """Close the ledger."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None


def in_order(jobs: list[Job]) -> list[Job]:
    """Return jobs in the order of the page: running, waiting, then ended, the newest first."""
    places = {state: place for place, state in enumerate(ORDER)}
    return sorted(jobs, key=lambda job: (places.get(job.state, len(ORDER)), -job.created))


def described(job: Job) -> dict[str, Any]:
    """Return one job's public fields; its conditions belong to its caller, and are left out."""
    rows = job.specification.rows
    return {
        "id": job.id,
        "table": job.specification.table,
        "version": job.specification.version,
        "state": str(job.state),
        "reason": job.reason,
        "waiting": job.waiting,
        "waiting_since": job.waiting_since or None,
        "rows": rows,
        "rows_drawn": job.rows_drawn,
        "progress": round(min(1.0, job.rows_drawn / rows), 4) if rows else 1.0,
        "shards": len(job.plan),
        "shards_done": job.shards_done,
        "bytes": job.bytes,
        "created": job.created,
        "started": job.started or None,
        "finished": job.finished or None,
    }
