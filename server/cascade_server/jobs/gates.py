"""A server's policy for jobs, and the log of its decisions."""

from __future__ import annotations

from pathlib import Path

from cascade_jobs.audit.log import FOLDER, AuditLog
from cascade_jobs.errors import PolicyRefused
from cascade_jobs.policy.gate import Gate, PolicyFile, read_policy
from cascade_jobs.policy.policy import LOCAL, RAY

from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError


def gate_of(config: ServerConfig) -> Gate | None:
    """Return the gate that decides about a server's jobs; None if it has no policy or no folder.

    The gate reads the policy for each decision.
    """
    if config.policy is None or config.state_dir is None:
        return None
    name = config.executor_name or (RAY if config.draws_on_ray else LOCAL)
    return Gate(PolicyFile(config.policy), AuditLog(config.state_dir / FOLDER), name)


def check_policy(path: Path) -> None:
    """Check that a file is a valid policy; raises ConfigError."""
    try:
        read_policy(path)
    except PolicyRefused as exc:
        raise ConfigError(str(exc)) from exc
