"""A repository with one release, to be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tables.releases.payments import write


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("pristine")
    write(folder)
    return folder


@pytest.fixture
def repository(pristine: Path, tmp_path: Path) -> Path:
    """A repository with one release, to be damaged."""
    folder = tmp_path / "repository"
    shutil.copytree(pristine, folder)
    return folder
