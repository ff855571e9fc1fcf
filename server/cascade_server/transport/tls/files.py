"""The files of a certificate: their paths, their content, and detection of changes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError

# A certificate file has a few kilobytes; a bundle of all public authorities has 300.
MOST_BYTES = 4 * 2**20
# For each file: device, inode, time of the last write, size, time of the last change of anything,
# mode and owner; None: the file does not exist.
Fingerprint: TypeAlias = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True)
class TlsFiles:
    """The paths of a server's TLS files, and which clients it accepts.

    Attributes:
        certificate: PEM, the server's certificate first, then its intermediates.
        key: PEM, without a passphrase.
        client_ca: PEM, the authorities of clients; None: clients are not asked for a certificate.
        clients: `none`, `optional` or `required`.
        minimum: the oldest version of TLS, "1.2" or "1.3".
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    clients: str = "none"
    minimum: str = "1.2"

    @classmethod
    def of(cls, config: ServerConfig) -> TlsFiles | None:
        """Return the files of the settings; None: the server does not use TLS."""
        if config.tls_certificate is None or config.tls_key is None:
            return None
        return cls(
            config.tls_certificate,
            config.tls_key,
            config.tls_client_ca,
            config.tls_client_certificates,
            config.tls_minimum_version,
        )

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths of all files that are configured."""
        return (self.certificate, self.key, *(() if self.client_ca is None else (self.client_ca,)))


@dataclass(frozen=True)
class Pem:
    """The content of the files."""

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None = None


def read(files: TlsFiles) -> Pem:
    """Read all files.

    Raises:
        ConfigError: a file cannot be read; names the setting and the file.
    """
    client_ca = None if files.client_ca is None else _content("tls_client_ca", files.client_ca)
    return Pem(
        _content("tls_certificate", files.certificate), _content("tls_key", files.key), client_ca
    )


def _content(setting: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as exc:
        why = exc.strerror or str(exc)
        raise ConfigError(f"{setting} is {path}, which cannot be read: {why}") from exc
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{setting} is {path}, of more than {MOST_BYTES} bytes; allowed: PEM")
    return content


def fingerprint(files: TlsFiles) -> Fingerprint:
    """Return the fingerprint of the files.

    It changes if a file is written or replaced, if its permissions change, or if a link on its
    path is switched to another folder, as Kubernetes does with `..data`.
    """
    return tuple(_of_file(path) for path in files.paths)


def _of_file(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (
        found.st_dev,
        found.st_ino,
        found.st_mtime_ns,
        found.st_size,
        # Detects a key that becomes readable later: its content does not change then.
        found.st_ctime_ns,
        found.st_mode,
        found.st_uid,
    )


@contextlib.contextmanager
def as_file(content: bytes) -> Iterator[str]:
    """Provide content as a private file, because OpenSSL only accepts paths.

    OpenSSL thus gets the content that was checked, even if the original file has changed since.
    """
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("tls", os.MFD_CLOEXEC)
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{number}"
        return
    with tempfile.NamedTemporaryFile() as named:
        named.write(content)
        named.flush()
        yield named.name
