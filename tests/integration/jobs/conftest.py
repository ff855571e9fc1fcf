"""A server that keeps jobs, for tests that do not end it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cascade_client.job_control import Jobs

from tests.integration.jobs.kept import keeping
from tests.integration.serving import Served
from tests.releases import make_release


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model_repository")
    make_release(folder)
    return folder


@pytest.fixture(scope="module")
def served(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with keeping(repository, tmp_path_factory.mktemp("state"), "--job-max-rows", "100000") as one:
        yield one


@pytest.fixture
def jobs(served: Served) -> Iterator[Jobs]:
    with served.client() as client:
        yield Jobs(client)
