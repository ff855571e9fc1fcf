"""Releases to publish, and servers that have one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.releases.served import publish, serve
from tests.integration.serving import Served
from tests.releases import TABLE, make_release


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`payments` in versions 1 to 3, `shops` in 1 and 2."""
    folder: Path = tmp_path_factory.mktemp("releases")
    for version in (1, 2, 3):
        make_release(folder, version=version, seed=version)
    for version in (1, 2):
        make_release(folder, table="shops", version=version, seed=version)
    return folder


@pytest.fixture
def repository(releases: Path, tmp_path: Path) -> Path:
    """Version 1 of `payments`; more may be published."""
    folder = tmp_path / "model_repository"
    publish(releases, folder, TABLE, 1)
    return folder


@pytest.fixture
def one(repository: Path) -> Iterator[Served]:
    with serve("--repository", str(repository), "--pool-mib", "0") as served:
        yield served
