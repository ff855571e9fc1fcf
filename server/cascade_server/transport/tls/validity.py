"""Reads the validity period of a certificate from the certificate itself (RFC 5280, 4.1).

Python's `ssl` returns it for the peer's certificate only. The fields before the two times are
skipped by their lengths, which takes very little of ASN.1.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
SEQUENCE, VERSION, UTC_TIME = 0x30, 0xA0, 0x17
# A UTCTime's two-digit years from here on are in the 20th century.
FIRST_YEAR = 50


@dataclass(frozen=True)
class Validity:
    """When a certificate is valid, in seconds since 1970."""

    begins: float
    ends: float


def validity(pem: str) -> Validity:
    """Read when the first certificate of a PEM file is valid.

    Raises:
        ValueError: there is no certificate.
    """
    start, end = pem.find(BEGIN), pem.find(END)
    if not 0 <= start < end:
        raise ValueError("no certificate")
    der = ssl.PEM_cert_to_DER_cert(pem[start : end + len(END)])
    try:
        _, certificate, _ = _element(der, 0)
        _, content, _ = _element(certificate, 0)
        kind, _, after = _element(content, 0)
        # The optional version, then serial number, algorithm and issuer.
        for _ in range(3 if kind == VERSION else 2):
            _, _, after = _element(content, after)
        kind, times, _ = _element(content, after)
        first, begins, after = _element(times, 0)
        second, ends, _ = _element(times, after)
        if kind != SEQUENCE:
            raise ValueError
        return Validity(_seconds(first, begins), _seconds(second, ends))
    except (IndexError, ValueError) as exc:
        raise ValueError("no certificate") from exc


def has_ended(certificate: Mapping[str, Any] | None, now: float) -> bool:
    """Return whether a certificate has expired.

    Args:
        certificate: as `ssl.SSLObject.getpeercert` returns it; None or empty: none was sent.
        now: seconds since 1970.
    """
    return bool(certificate and ssl.cert_time_to_seconds(certificate["notAfter"]) <= now)


def _element(content: bytes, start: int) -> tuple[int, bytes, int]:
    """Read a DER element: return its kind, its content, and the offset of the next one."""
    kind, size, begin = content[start], content[start + 1], start + 2
    if size & 0x80:
        more = size & 0x7F
        size, begin = int.from_bytes(content[begin : begin + more], "big"), begin + more
    if begin + size > len(content):
        raise ValueError
    return kind, content[begin : begin + size], begin + size


def _seconds(kind: int, text: bytes) -> float:
    digits = text.decode("ascii")
    if kind == UTC_TIME:
        digits = ("19" if int(digits[:2]) >= FIRST_YEAR else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
