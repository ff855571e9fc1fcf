"""Errors of load tests, other than the failures that they are meant to find."""

from __future__ import annotations


class LoadTestError(Exception):
    """Base of this package's errors."""


class LoadFailed(LoadTestError):
    """Nothing was measured: no generator, no server, or a call failed that must succeed."""


class PromiseError(LoadTestError):
    """A file of promises cannot be used; names the key, the value and what is allowed."""


class TraceError(LoadTestError):
    """A trace cannot be used; names the file, the line, the key and what is allowed."""
