"""Settings that need one another, or that nobody can want beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError

FILE = Path("x.pem")
PAIR: dict[str, Any] = {"tls_certificate": FILE, "tls_key": FILE}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tls_certificate": FILE}, "tls_certificate is set and tls_key is not"),
    ({"tls_key": FILE}, "tls_key is set and tls_certificate is not"),
    ({**PAIR, "tls_client_ca": FILE}, "nobody is asked"),
    ({**PAIR, "tls_client_certificates": "optional"}, "needs tls_client_ca"),
    (
        {"tls_client_ca": FILE, "tls_client_certificates": "required"},
        "needs tls_certificate and tls_key",
    ),
    ({"runtime_ca": FILE}, "they are for tritons://HOST:PORT"),
    (
        {"runtime": "triton://a:1", "runtime_certificate": FILE, "runtime_key": FILE},
        "they are for tritons://",
    ),
    ({"runtime": "tritons://a:1", "runtime_key": FILE}, "runtime_certificate is not"),
]
RIGHT: list[dict[str, Any]] = [
    PAIR,
    {**PAIR, "tls_client_ca": FILE, "tls_client_certificates": "optional"},
    {"runtime": "tritons://a:1"},
    {"runtime": "tritons://a:1", "runtime_ca": FILE},
]


@pytest.mark.parametrize(("settings", "said"), WRONG)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ServerConfig(**settings)


@pytest.mark.parametrize("settings", RIGHT)
def test_what_does_is_not(settings: dict[str, Any]) -> None:
    ServerConfig(**settings)
