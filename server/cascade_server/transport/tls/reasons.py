"""Describes failed handshakes for the reader of the server's log."""

from __future__ import annotations

import ssl

WORDS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it has shown no certificate",
    "HTTP_REQUEST": "it speaks HTTP in the clear, and this port speaks TLS",
    "HTTPS_PROXY_REQUEST": "it speaks HTTP in the clear, and this port speaks TLS",
    "WRONG_VERSION_NUMBER": "what it has sent is not TLS",
    "UNSUPPORTED_PROTOCOL": "it speaks no version of TLS that is allowed here",
    "UNKNOWN_PROTOCOL": "what it has sent is not TLS",
    "NO_SHARED_CIPHER": "it offers no cipher that is allowed here",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust who has signed this server's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not trust this server's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not trust this server's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "this server's certificate has expired, it says",
}


def reason_of(error: ssl.SSLError) -> str:
    """Describe a handshake's failure without any text that the peer could choose."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    reason = error.reason or "TLS has failed"
    return WORDS.get(reason, reason.replace("_", " ").lower())
