"""A server's policy for jobs, and the log of what is decided by it."""

from __future__ import annotations

from pathlib import Path

from cascade_jobs.audit.log import FOLDER, AuditLog
from cascade_jobs.errors import PolicyRefused
from cascade_jobs.policy.gate import Gate, PolicyFile, read_policy
from cascade_jobs.policy.policy import LOCAL

from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError


def gate_of(config: ServerConfig) -> Gate | None:
    """What decides about a server's jobs, each time anew; None: it has no policy, or no folder."""
    if config.policy is None or config.state_dir is None:
        return None
    return Gate(PolicyFile(config.policy), AuditLog(config.state_dir / FOLDER), LOCAL)


def check_policy(path: Path) -> None:
    """Refuse a file that is no policy; raises ConfigError."""
    try:
        read_policy(path)
    except PolicyRefused as exc:
        raise ConfigError(str(exc)) from exc
