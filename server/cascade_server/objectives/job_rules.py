"""Alerts for jobs.

Their thresholds follow from no objective: only a job's owner knows when it is late.
"""

from __future__ import annotations

from typing import Any

from cascade_server.objectives.alert_groups import Alert, alert_group

ALERTS = (
    Alert(
        "CascadeJobLedgerUnreadable",
        "page",
        "cascade_job_ledger_up == 0",
        "5m",
        "the ledger of jobs cannot be read",
        "No job is taken or goes on. The server's log names the file and why.",
    ),
    Alert(
        "CascadeJobsNotBegun",
        "page",
        "cascade_job_oldest_pending_seconds > 3600",
        "5m",
        "a job waits for more than an hour to be begun with",
        "`cascade jobs list` shows the jobs that are before it, and what it waits for; `executors` "
        "says how many work.",
    ),
    Alert(
        "CascadeJobsWait",
        "ticket",
        "cascade_job_oldest_waiting_seconds > 1800",
        "5m",
        "a job has not gone on for half an hour",
        "`cascade jobs list` says what it waits for; after a day it fails.",
    ),
    Alert(
        "CascadeJobsFail",
        "ticket",
        "increase(cascade_job_failures_total[1h]) > 0",
        "0m",
        "jobs have failed",
        "`cascade jobs list` says why. They are not tried again.",
    ),
    Alert(
        "CascadeJobsDiskFull",
        "ticket",
        "cascade_job_disk_bytes > 0.9 * cascade_job_disk_limit_bytes",
        "15m",
        "results of jobs have taken nine tenths of what they may",
        "Beyond job_disk_mib jobs wait. Raise it, or lower job_days.",
    ),
    Alert(
        "CascadeJobsKilled",
        "ticket",
        "increase(cascade_job_leases_lost_total[1h]) > 5",
        "0m",
        "processes that make rows end again and again",
        "The server's log, or the system's where memory is short, says what ends them.",
    ),
)


def job_group() -> dict[str, Any]:
    """Return the alerts as a group of a rules file."""
    return alert_group("cascade-jobs", ALERTS)
