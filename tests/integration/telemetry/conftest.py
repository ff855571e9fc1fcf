"""One small release."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.releases import make_release


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model_repository")
    make_release(folder)
    return folder
