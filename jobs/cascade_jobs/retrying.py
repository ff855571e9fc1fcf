"""Retry policy for jobs: which errors are retried, when, and for how long; pure decisions."""

from __future__ import annotations

import errno
import sqlite3
from dataclasses import dataclass

from cascade_jobs.errors import Cause, JobFailed, JobWaits

# Errors that can be fixed while a job waits: a full disk, an unavailable network, a limit.
PASSING = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EAGAIN, errno.EINTR),
        *(errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE),
        *(errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ESTALE),
        *(errno.ENOTCONN, errno.EBUSY, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EREMOTEIO),
    }
)
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Errors that waiting does not fix, for files in existing folders, or for URLs.
LASTING = (
    PermissionError,
    NotADirectoryError,
    IsADirectoryError,
    FileExistsError,
    FileNotFoundError,
)


@dataclass(frozen=True)
class RetryConfig:
    """Patience of a job.

    Attributes:
        first_seconds, multiplier, longest_seconds: rest after the first failure in a row, its
            growth, and its upper bound.
        patience_seconds: time without progress after which a job fails.
    """

    first_seconds: float = 0.5
    multiplier: float = 2.0
    longest_seconds: float = 30.0
    patience_seconds: float = 86_400.0

    def rest(self, tries: int) -> float:
        """Return the seconds of rest after this many earlier failures in a row."""
        return min(self.first_seconds * self.multiplier ** min(tries, 64), self.longest_seconds)


def judged(error: Exception, where: str, name: str) -> JobFailed | JobWaits:
    """Classify an error with a file as final or retryable, with a message for the user.

    Args:
        error: the exception.
        where: the output.
        name: of the file.
    """
    if isinstance(error, JobFailed | JobWaits):
        return error
    why = f"{where} cannot be written: {_words(error)}"
    if isinstance(error, sqlite3.Error):
        return JobWaits(f"the ledger cannot be written: {error}", Cause.LEDGER)
    if isinstance(error, MemoryError):
        return JobWaits(f"there is not enough memory: {error}", Cause.MEMORY)
    if isinstance(error, OSError) and error.errno in PASSING:
        return JobWaits(why, Cause.DISK_FULL if error.errno in FULL else Cause.OUTPUT)
    if isinstance(error, ImportError):
        missing = f"{where} needs a package that is not installed: {error}"
        return JobFailed(missing, Cause.PACKAGE)
    # Clients of remote stores often raise errors without a number.
    if isinstance(error, OSError) and error.errno is None and not isinstance(error, LASTING):
        return JobWaits(why, Cause.OUTPUT)
    if isinstance(error, OSError):
        return JobFailed(why, Cause.OUTPUT)
    return JobFailed(f"{name} cannot be made: {type(error).__name__}: {error}")


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
