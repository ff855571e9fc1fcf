"""A server with two workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.serving import Served, serve
from tests.releases import make_release


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model_repository")
    make_release(folder)
    return folder


@pytest.fixture
def two(repository: Path) -> Iterator[Served]:
    with serve("--repository", str(repository), "--workers", "2", "--pool-mib", "0") as served:
        yield served
