"""Settings that need one another, or that nobody can want beside each other."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from cascade_server.config import ServerConfig
from cascade_server.consistency import check_exposure
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


OPEN_TO_ALL: dict[str, Any] = {"host": "0.0.0.0", "metrics_port": 9464}
SAID = ["host is '0.0.0.0'", "metrics_port is set"]


def test_an_open_server_is_not_started() -> None:
    with pytest.raises(ConfigError, match=SAID[0]):
        check_exposure(ServerConfig(**OPEN_TO_ALL))


def test_where_it_is_wanted_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """It may not be: the images have it so, and a misspelt variable has no effect."""
    check_exposure(ServerConfig(insecure=True, **OPEN_TO_ALL))
    assert [each.levelno for each in caplog.records] == [logging.WARNING] * len(SAID)
    for record, said in zip(caplog.records, SAID, strict=True):
        assert f"insecure is set, without which the server would not start: {said}" in (
            record.getMessage()
        )


def test_what_insecure_changes_nothing_of_is_not(caplog: pytest.LogCaptureFixture) -> None:
    check_exposure(ServerConfig(insecure=True))
    asked = {**PAIR, "access": Path("access.yaml")}
    check_exposure(ServerConfig(insecure=True, **OPEN_TO_ALL, **asked))
    assert caplog.text == ""


@pytest.mark.parametrize("settings", RIGHT)
def test_what_does_is_not(settings: dict[str, Any]) -> None:
    ServerConfig(**settings)
