"""A server of the bundled releases, for what is run against it as it is typed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.serving import Served, serve

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package")
def bundled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("state")
    options = ("--repository", str(ROOT / "model_repository"), "--state-dir", str(state))
    with serve(*options) as served:
        served.client().wait_ready(60)
        yield served
