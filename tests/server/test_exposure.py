"""Which addresses may be listened on, and what is said of those that may not."""

from __future__ import annotations

import pytest
from cascade_server.exposure import exposure, is_loopback, metrics_exposure

LOCAL = ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LocalHost", "::ffff:127.0.0.1"]
PUBLIC = ["0.0.0.0", "::", "[::]", "", "10.0.0.7", "192.168.1.1", "fe80::1%eth0", "cascade.bank"]


@pytest.mark.parametrize("host", LOCAL)
def test_nobody_else_reaches_a_loopback_address(host: str) -> None:
    assert is_loopback(host)
    assert exposure(host, tls=False, authentication=False, insecure=False) is None
    assert metrics_exposure(host, asked=False, insecure=False) is None


@pytest.mark.parametrize("host", PUBLIC)
class TestOthersReachIt:
    """An address that others reach."""

    def test_it_needs_tls_and_callers_that_say_who_they_are(self, host: str) -> None:
        assert not is_loopback(host)
        assert exposure(host, tls=True, authentication=True, insecure=False) is None

    def test_or_somebody_who_wants_it_so(self, host: str) -> None:
        assert exposure(host, tls=False, authentication=False, insecure=True) is None

    def test_without_tls_the_certificate_is_asked_for(self, host: str) -> None:
        said = exposure(host, tls=False, authentication=True, insecure=False)
        assert said is not None
        assert "tls_certificate and tls_key" in said
        assert "tls_client_certificates" not in said
        assert "--insecure" in said

    def test_without_names_it_is_said_how_callers_are_asked(self, host: str) -> None:
        said = exposure(host, tls=True, authentication=False, insecure=False)
        assert said is not None
        assert "tls_client_certificates: required" in said
        assert "tls_key" not in said

    def test_without_both_both_are_said(self, host: str) -> None:
        said = exposure(host, tls=False, authentication=False, insecure=False)
        assert said is not None
        assert said.startswith(f"host is {host!r}")
        assert "tls_certificate" in said
        assert "tls_client_certificates" in said

    def test_metrics_are_for_who_has_a_key(self, host: str) -> None:
        assert metrics_exposure(host, asked=True, insecure=False) is None
        assert metrics_exposure(host, asked=False, insecure=True) is None
        said = metrics_exposure(host, asked=False, insecure=False)
        assert said is not None
        assert said.startswith(f"metrics_port is set, and host is {host!r}")
        assert "access" in said
