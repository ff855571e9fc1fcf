"""What Prometheus sees of jobs."""

from __future__ import annotations

from pathlib import Path

from cascade_jobs.errors import Cause
from cascade_jobs.ledger import NAME
from cascade_server.jobs.desk import folder_of
from cascade_server.jobs.metrics import JobsCollector
from prometheus_client import CollectorRegistry

from tests.jobs.made_up import Jobs


def registry_of(state: Path) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(JobsCollector(state, 5000, ["payments", "shops"]))
    return registry


def test_nobody_has_asked_for_a_job(tmp_path: Path) -> None:
    """All series are there, at 0; no ledger is made for it."""
    value = registry_of(tmp_path).get_sample_value
    assert value("cascade_job_ledger_up") == 1
    assert value("cascade_jobs", {"state": "FAILED"}) == 0
    assert value("cascade_job_rows_total", {"table": "shops", "tier": "teacher"}) == 0
    for cause in Cause:
        assert value("cascade_job_retries_total", {"reason": cause}) == 0
        assert value("cascade_job_failures_total", {"reason": cause}) == 0
    assert value("cascade_job_disk_limit_bytes") == 5000
    assert list(tmp_path.iterdir()) == []


def test_what_the_ledger_has(tmp_path: Path) -> None:
    jobs = Jobs(folder_of(tmp_path))
    # A table that is served no more.
    jobs.submit(table="former", rows=1200)
    jobs.finish()
    jobs.submit()
    lease = jobs.ledger.claim("somebody", 60)
    assert lease is not None
    jobs.ledger.give_back(lease, "the disk is full", 0.0, Cause.DISK_FULL)
    value = registry_of(tmp_path).get_sample_value
    assert value("cascade_jobs", {"state": "DONE"}) == 1
    assert value("cascade_jobs", {"state": "RUNNING"}) == 1
    assert value("cascade_jobs_waiting") == 1
    former = {"table": "former", "tier": "student"}
    assert value("cascade_job_rows_total", former) == 1200
    assert value("cascade_job_shards_total", former) == 2
    assert value("cascade_job_retries_total", {"reason": "disk_full"}) == 1
    assert value("cascade_job_leases_lost_total") == 0
    assert value("cascade_job_disk_bytes") == jobs.ledger.owned_bytes()
    jobs.close()


def test_a_ledger_that_cannot_be_read_says_so_and_hides_no_other_metric(tmp_path: Path) -> None:
    folder_of(tmp_path).mkdir()
    (folder_of(tmp_path) / NAME).write_bytes(b"no database" * 1000)
    registry = registry_of(tmp_path)
    assert registry.get_sample_value("cascade_job_ledger_up") == 0
    assert registry.get_sample_value("cascade_jobs", {"state": "DONE"}) is None
