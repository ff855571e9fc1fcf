"""Jobs whose rows a Ray cluster draws: the same files, whoever draws them and whoever is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cascade_client.job_control import Jobs
from cascade_client.values.jobs import JobState

from benchmarks.peers.ray_cluster import IS_INSTALLED, Cluster, ray_cluster
from tests.integration.jobs.kept import contents, done, keeping
from tests.integration.serving import until
from tests.releases import TABLE

pytestmark = [
    pytest.mark.skipif(not IS_INSTALLED, reason="Ray is not installed: pip install ray"),
    pytest.mark.timeout(900),
]

POLICY = """
tables:
  "*": {residency: [eu], sensitivity: confidential}
executors:
  local: {region: eu, trust: restricted}
  cloud: {kind: ray, region: REGION, trust: restricted}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster(workers=2) as found:
        yield found


@pytest.mark.parametrize("fidelity", ["fast", "full"])
def test_a_worker_is_killed_and_the_files_are_those_of_the_servers_own_process(
    cluster: Cluster, repository: Path, tmp_path: Path, fidelity: str
) -> None:
    rows = 60_000 if fidelity == "fast" else 12_000
    with keeping(repository, tmp_path / "local") as served, served.client() as client:
        expected = contents(
            done(Jobs(client), Jobs(client).submit(TABLE, rows, fidelity=fidelity, seed=3)).output
        )
    options = "--executor", cluster.address
    with keeping(repository, tmp_path / "ray", *options) as served, served.client() as client:
        jobs = Jobs(client)
        job = jobs.submit(TABLE, rows, fidelity=fidelity, seed=3)
        drawing: list[psutil.Process] = []

        def is_drawn() -> bool:
            drawing[:] = cluster.drawing()
            return bool(drawing)

        until(is_drawn, 600.0)
        drawing[0].kill()
        assert contents(done(jobs, job).output) == expected


def test_rows_to_complete_go_to_the_cluster(
    cluster: Cluster, repository: Path, tmp_path: Path
) -> None:
    asked = [{"channel": "web"}, {"channel": "shop", "amount": 12.5}, {"amount": 80.0}]
    with keeping(repository, tmp_path / "local") as served, served.client() as client:
        jobs = Jobs(client)
        expected = contents(
            done(
                jobs, jobs.submit(TABLE, conditions=asked, draws=3, fidelity="fast", seed=5)
            ).output
        )
    options = "--executor", cluster.address
    with keeping(repository, tmp_path / "ray", *options) as served, served.client() as client:
        jobs = Jobs(client)
        job = jobs.submit(TABLE, conditions=asked, draws=3, fidelity="fast", seed=5)
        assert contents(done(jobs, job).output) == expected


def test_a_cluster_that_is_away_is_waited_for(repository: Path, tmp_path: Path) -> None:
    options = "--executor", "ray://127.0.0.1:9"
    with keeping(repository, tmp_path / "state", *options) as served, served.client() as client:
        jobs = Jobs(client)
        job = jobs.submit(TABLE, 1000, fidelity="fast", seed=3)
        until(lambda: bool(jobs.get(job.id).waiting), 300.0)
        found = jobs.get(job.id)
        assert "Ray at ray://127.0.0.1:9 cannot be reached" in found.waiting
        assert not found.state.is_final
        assert jobs.cancel(job.id).state is JobState.CANCELLED


def placed(cluster: Cluster, folder: Path, region: str) -> tuple[str, ...]:
    """Options of a server whose jobs go to the cluster, which stands in a region of its policy."""
    policy = folder / "policy.yaml"
    policy.write_text(POLICY.replace("REGION", region))
    return (
        *("--executor", cluster.address, "--executor-name", "cloud"),
        *("--policy", str(policy)),
    )


def test_a_cluster_that_the_policy_allows_draws(
    cluster: Cluster, repository: Path, tmp_path: Path
) -> None:
    options = placed(cluster, tmp_path, "eu")
    with keeping(repository, tmp_path / "state", *options) as served, served.client() as client:
        jobs = Jobs(client)
        done(jobs, jobs.submit(TABLE, 1000, fidelity="fast", seed=3))


def test_a_cluster_that_the_policy_forbids_draws_nothing(
    cluster: Cluster, repository: Path, tmp_path: Path
) -> None:
    options = placed(cluster, tmp_path, "us")
    with keeping(repository, tmp_path / "state", *options) as served, served.client() as client:
        jobs = Jobs(client)
        job = jobs.submit(TABLE, 1000, fidelity="fast", seed=3)
        until(lambda: "region us" in jobs.get(job.id).waiting, 300.0)
        assert jobs.get(job.id).state is JobState.PENDING
