"""A release whose networks run elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from cascade_server.engines.runtime import Runtime
from cascade_tables import load_release

from tests.releases import TABLE


@pytest.fixture(scope="module")
def runtime(repository: Path) -> Runtime:
    return Runtime(load_release(repository, TABLE, 3), tiers=())
