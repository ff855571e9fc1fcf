"""A server with a policy, as it is typed: who may run a job, why others may not, and its log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cascade_client import InvalidRequest, PermissionDenied
from cascade_client.commands.jobs import jobs as jobs_command
from cascade_client.job_control import Jobs
from cascade_client.values.jobs import JobState
from cascade_jobs.audit.commands import audit as audit_command
from cascade_jobs.job import DESCRIPTIONS, PROVENANCE
from cascade_server.commands import serve as serve_command
from click.testing import CliRunner

from tests.integration.jobs.kept import done, executors, keeping
from tests.integration.serving import Served, until
from tests.releases import TABLE

POLICY = f"""\
publisher: {{name: Example Bank, url: "https://bank.example"}}
tables: {{{TABLE}: {{residency: [eu], sensitivity: confidential, uses: [research]}}}}
executors:
  local: {{region: REGION, trust: restricted}}
  cloud: {{kind: ray, region: KEPT, trust: confidential}}
"""


def put(path: Path, local: str = "eu", cloud: str = "us") -> None:
    path.write_text(POLICY.replace("REGION", local).replace("KEPT", cloud))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    put(path)
    return path


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("state")
    return folder


@pytest.fixture(scope="module")
def served(repository: Path, state: Path, policy: Path) -> Iterator[Served]:
    with keeping(repository, state, "--policy", str(policy)) as one:
        yield one


@pytest.fixture(autouse=True)
def as_it_was(policy: Path) -> None:
    put(policy)


def audited(state: Path, *arguments: str, code: int = 0) -> str:
    typed = [arguments[0], "--state-dir", str(state), *arguments[1:]]
    result = CliRunner().invoke(audit_command, typed)
    assert result.exit_code == code, result.output
    return result.output


def test_a_job_that_may_run_says_who_may_and_why_others_may_not(
    served: Served, jobs: Jobs, state: Path
) -> None:
    job = done(jobs, jobs.submit(TABLE, 500, fidelity="fast", seed=1))
    local, cloud = jobs.get(job.id).executors
    assert (local.name, local.kind, local.may_run) == ("local", "local", True)
    assert (cloud.kind, cloud.may_run) == ("ray", False)
    assert cloud.reasons == (f"it is in region us, and table {TABLE} may be in eu only",)
    shown = CliRunner().invoke(jobs_command, ["show", job.id, "--target", served.target]).stdout
    assert f"executor  cloud (ray) may not run it: {cloud.reasons[0]}" in shown
    entries = audited(state, "list", "--job", job.id, "--json").splitlines()
    assert [json.loads(each)["event"] for each in entries] == ["submitted", "may run"]


def test_what_rows_may_be_used_for_comes_with_them(jobs: Jobs, tmp_path: Path) -> None:
    job = done(jobs, jobs.submit(TABLE, 500, fidelity="fast", seed=1))
    names = {path.name for path in jobs.fetch(job.id, tmp_path)}
    assert {*DESCRIPTIONS} <= names
    found = json.loads((tmp_path / PROVENANCE).read_text())
    assert found["source"]["issuer"] == [
        {"legal-name": "Example Bank", "url": "https://bank.example"}
    ]
    assert [each["code"] for each in found["use"]["intended-purpose"]] == ["research"]
    assert found["provenance"]["origin-geography"] == [{"country": "eu"}]


def test_a_job_that_nobody_may_run_is_refused(jobs: Jobs, policy: Path, state: Path) -> None:
    put(policy, local="us")
    before = len(jobs.list())
    with pytest.raises(PermissionDenied, match="local: it is in region us, and table"):
        jobs.submit(TABLE, 500, fidelity="fast", seed=2)
    assert len(jobs.list()) == before
    last = json.loads(audited(state, "list", "--json").splitlines()[-1])
    assert (last["event"], last["allowed"]) == ("refused", False)


def test_a_job_for_another_executor_waits_until_the_policy_lets_it(
    served: Served, jobs: Jobs, policy: Path
) -> None:
    put(policy, local="us", cloud="eu")
    job = jobs.submit(TABLE, 500, fidelity="fast", seed=3)
    until(lambda: bool(jobs.get(job.id).waiting))
    waits = jobs.get(job.id)
    assert (waits.state, [each.may_run for each in waits.executors]) == (
        JobState.PENDING, [False, True],
    )  # fmt: skip
    assert waits.waiting.startswith("by the server's policy, local: it is in region us")
    # It is nothing to do: nobody stays for it.
    until(lambda: not executors(served))
    put(policy)
    # Whoever is asked to work looks at all of them.
    done(jobs, jobs.submit(TABLE, 500, fidelity="fast", seed=4))
    done(jobs, job)


def test_a_policy_that_is_wrong_is_said_and_keeps_jobs(jobs: Jobs, policy: Path) -> None:
    job = done(jobs, jobs.submit(TABLE, 500, fidelity="fast", seed=1))
    policy.write_text(policy.read_text().replace("sensitivity", "sensitivty"))
    with pytest.raises(InvalidRequest, match="Did you mean 'sensitivity'"):
        jobs.submit(TABLE, 500, fidelity="fast", seed=5)
    (local,) = jobs.get(job.id).executors
    assert (local.may_run, "Did you mean" in local.reasons[0]) == (False, True)


def test_the_log_is_whole_and_a_change_is_found(jobs: Jobs, state: Path, tmp_path: Path) -> None:
    done(jobs, jobs.submit(TABLE, 500, fidelity="fast", seed=1))
    kept = tmp_path / "kept"
    kept.write_text(audited(state, "checkpoint"))
    assert "are what was written" in audited(state, "verify", "--checkpoint", str(kept))
    log = state / "audit" / "audit.log"
    before = log.read_bytes()
    # Which tests asked before is the test runner's choice: the entry is looked up, not counted on.
    allowed = [b'"allowed":true' in line for line in before.splitlines()].index(True)
    try:
        log.write_bytes(before.replace(b'"allowed":true', b'"allowed":tru3', 1))
        assert f"entry {allowed} is not what was written" in audited(state, "verify", code=1)
    finally:
        log.write_bytes(before)


def test_a_server_is_not_started_with_a_policy_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("executors: {local: {region: eu, trust: all}}\ntables: {a: {}}")
    result = CliRunner().invoke(serve_command, ["--policy", str(path)])
    assert result.exit_code == 1
    assert "--policy: " in result.output
    assert "tables.a has no residency" in result.output
