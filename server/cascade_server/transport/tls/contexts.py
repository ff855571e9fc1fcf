"""Builds OpenSSL contexts from PEM: what a server offers, and which clients it accepts."""

from __future__ import annotations

import ssl

from cascade_server.errors import ConfigError
from cascade_server.transport.tls.files import Pem, TlsFiles, as_file
from cascade_server.transport.tls.validity import Validity, validity

ALPN = "h2"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
# For TLS 1.2: forward secrecy and authenticated encryption, which HTTP/2 requires (RFC 9113, 9.2.2,
# and its appendix A). All ciphers of TLS 1.3 have both.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def context_of(pem: Pem, files: TlsFiles) -> tuple[ssl.SSLContext, Validity]:
    """Create the context of connections, and read when the certificate is valid.

    Tickets are disabled, so TLS 1.3 resumes no session. Connections are long-lived and a handshake
    is cheap, while a client that resumes is not asked for its certificate again and so would stay
    accepted after it has expired. For TLS 1.2, Python cannot keep OpenSSL from resuming sessions by
    their ids; see `secured.Secured.step`.

    Args:
        pem: the content of the files.
        files: the paths, for messages, and which clients to accept.

    Raises:
        ConfigError: a file is invalid, or the key does not match the certificate; names the setting
            and the file.
    """
    try:
        holds = validity(pem.certificate.decode("latin1"))
    except ValueError as exc:
        raise ConfigError(
            f"tls_certificate is {files.certificate}, which holds no certificate; allowed: PEM, "
            "the server's certificate first, then those between it and a root"
        ) from exc
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[files.minimum]
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols([ALPN])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    with as_file(pem.certificate) as certificate, as_file(pem.key) as key:
        try:
            context.load_cert_chain(certificate, key, _no_passphrase)
        except (ssl.SSLError, ConfigError) as exc:
            raise ConfigError(_wrong_pair(exc, pem, files)) from exc
    if pem.client_ca is not None:
        with as_file(pem.client_ca) as authorities:
            try:
                context.load_verify_locations(authorities)
            except ssl.SSLError as exc:
                raise ConfigError(
                    f"tls_client_ca is {files.client_ca}, which holds no certificate; allowed: "
                    "PEM, one certificate or more"
                ) from exc
        context.verify_mode = VERIFY[files.clients]
    return context, holds


class _EncryptedError(ConfigError):
    """The key has a passphrase."""


def _no_passphrase() -> str:
    # Otherwise OpenSSL would prompt at the terminal, and the server would wait forever.
    raise _EncryptedError("a passphrase")


def _wrong_pair(exc: Exception, pem: Pem, files: TlsFiles) -> str:
    """Describe what is wrong with a certificate and its key."""
    key = f"tls_key is {files.key}"
    if isinstance(exc, _EncryptedError):
        return (
            f"{key}, which has a passphrase; allowed: a key without one, which only this user reads"
        )
    if b"PRIVATE KEY-----" not in pem.key:
        return f"{key}, which holds no key; allowed: PEM, a private key"
    reason = getattr(exc, "reason", None) or str(exc)
    if reason == "KEY_VALUES_MISMATCH":
        return f"{key}, which is not the key of the certificate in {files.certificate}"
    return (
        f"{key} and tls_certificate {files.certificate}, which OpenSSL refuses: "
        f"{reason.replace('_', ' ').lower()}"
    )
