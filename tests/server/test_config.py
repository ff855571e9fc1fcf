"""Settings are checked once, and an error names the setting, its value and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": 70_000}, "port is 70000; allowed: 0 to 65535"),
        ({"port": -1}, "port is -1; allowed: 0 to 65535"),
        ({"teacher_threads": 0}, "teacher_threads is 0; allowed: 1 to 1024"),
        ({"max_rows": 0}, "max_rows is 0"),
        ({"chunk_rows": 0}, "chunk_rows is 0"),
        ({"max_message_bytes": 1}, "max_message_bytes is 1; allowed: 1024 to"),
        ({"drain_seconds": -0.5}, "drain_seconds is -0.5; allowed: 0 to 3600"),
        ({"max_connection_age": 0}, "max_connection_age is 0; allowed: 1 to 2592000"),
        ({"pool_bytes": -1}, "pool_bytes is -1; allowed: 0 to"),
        ({"pool_age_seconds": 0}, "pool_age_seconds is 0; allowed: 1 to 2592000"),
        ({"pool_max_reuse": 0}, "pool_max_reuse is 0; allowed: 1 to"),
        ({"cache_bytes": -1}, "cache_bytes is -1; allowed: 0 to"),
        ({"cache_age_seconds": 0}, "cache_age_seconds is 0; allowed: 1 to 2592000"),
        ({"cache_timeout_seconds": 0}, "cache_timeout_seconds is 0; allowed: 0.0001 to 60"),
    ],
)
def test_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ServerConfig(**settings)
