"""When a certificate holds, as it says itself."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest
from cascade_server.transport.tls.validity import BEGIN, END, validity
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import Authority, Pair


def test_it_is_what_others_read_there(pair: Pair) -> None:
    text = pair.certificate.read_text()
    other = x509.load_pem_x509_certificate(text.encode())
    found = validity(text)
    assert found.begins == other.not_valid_before_utc.timestamp()
    assert found.ends == other.not_valid_after_utc.timestamp() == pair.ends


@pytest.mark.parametrize("days", [1, 30 * 365, -400])
def test_before_and_after_the_middle_of_the_century(authority: Authority, days: int) -> None:
    """Times from 2050 on are written in another way (RFC 5280, 4.1.2.5)."""
    made = authority.signs("server", days=days)
    assert validity(made.certificate.read_text()).ends == made.ends


def test_of_several_the_first_counts(authority: Authority, pair: Pair) -> None:
    text = pair.certificate.read_text() + authority.path.read_text()
    assert validity("said of it\n" + text).ends == pair.ends


@pytest.mark.parametrize("text", ["", "key", BEGIN, f"{END}{BEGIN}", f"{BEGIN}\nAAAA\n{END}"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no certificate"):
        validity(text)


@given(st.data())
def test_what_is_damaged_is_read_or_refused(data: st.DataObject) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert(SAMPLE))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(der)))
    with contextlib.suppress(ValueError):
        validity(ssl.DER_cert_to_PEM_cert(bytes(der[:cut])))


# Made once, so that examples are the same in every run.
SAMPLE = (Path(__file__).parent / "sample.pem").read_text()
