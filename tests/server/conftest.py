"""One server for the tests that only ask it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cascade_server.config import ServerConfig
from cascade_tables import ColumnOverride

from tests.releases import make_release
from tests.server.running import DRAWN_ANEW, Running, running

MAX_MESSAGE_BYTES = 64 * 1024


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`payments` in versions 1 and 3; `shops`, whose channels fold and whose member is left out."""
    folder: Path = tmp_path_factory.mktemp("model_repository")
    make_release(folder)
    make_release(folder, version=3, seed=3)
    folded = {"channel": ColumnOverride(other="(other)"), "member": ColumnOverride(drop=True)}
    make_release(folder, table="shops", overrides=folded)
    return folder


@pytest.fixture(scope="session")
def serving(repository: Path) -> Iterator[Running]:
    config = ServerConfig(
        repository=repository,
        port=0,
        max_rows=4096,
        max_generate_rows=100_000,
        max_message_bytes=MAX_MESSAGE_BYTES,
        chunk_rows=64,
        **DRAWN_ANEW,
    )
    with running(config) as server:
        yield server
