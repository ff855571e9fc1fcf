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

        until(is_drawn, 300.0)
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


@pytest.mark.parametrize(("region", "state"), [("eu", JobState.DONE), ("us", JobState.PENDING)])
def test_the_policy_says_whether_the_cluster_may(
    cluster: Cluster, repository: Path, tmp_path: Path, region: str, state: JobState
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.replace("REGION", region))
    options = (
        *("--executor", cluster.address, "--executor-name", "cloud"),
        *("--policy", str(policy)),
    )
    with keeping(repository, tmp_path / "state", *options) as served, served.client() as client:
        jobs = Jobs(client)
        job = jobs.submit(TABLE, 1000, fidelity="fast", seed=3)
        until(lambda: jobs.get(job.id).state.is_final or bool(jobs.get(job.id).waiting), 300.0)
        assert jobs.get(job.id).state is state
