"""TLS between this server and those that run its networks."""

from __future__ import annotations

from pathlib import Path

import grpc

from cascade_server.addresses import TLS_SCHEME
from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError


def credentials_of(config: ServerConfig) -> grpc.ChannelCredentials | None:
    """Return the credentials from the settings; None for connections without TLS.

    Raises:
        ConfigError: a file cannot be read, or is not PEM; names the setting and the file.
    """
    if not config.runtime.startswith(TLS_SCHEME):
        return None
    return grpc.ssl_channel_credentials(
        _content("runtime_ca", config.runtime_ca, "certificate"),
        _content("runtime_key", config.runtime_key, "private key"),
        _content("runtime_certificate", config.runtime_certificate, "certificate"),
    )


def _content(setting: str, path: Path | None, kind: str) -> bytes | None:
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as exc:
        why = exc.strerror or str(exc)
        raise ConfigError(f"{setting} is {path}, which cannot be read: {why}") from exc
    # gRPC accepts any content, and reports an error only when it connects.
    if f"{kind.upper()}-----".encode() not in content:
        raise ConfigError(f"{setting} is {path}, which holds no {kind}; allowed: PEM")
    return content
