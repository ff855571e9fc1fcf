"""What is tried again, when, and for how long: pure decisions about what went wrong."""

from __future__ import annotations

import errno
import sqlite3
from dataclasses import dataclass

from cascade_jobs.errors import Cause, JobFailed, JobWaits

# What somebody can mend while a job waits: a full disk, a network that is away, a limit.
PASSING = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EAGAIN, errno.EINTR),
        *(errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE),
        *(errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ESTALE),
        *(errno.ENOTCONN, errno.EBUSY, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EREMOTEIO),
    }
)
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What no waiting mends; of files in folders that are there, or of URLs.
LASTING = (
    PermissionError,
    NotADirectoryError,
    IsADirectoryError,
    FileExistsError,
    FileNotFoundError,
)


@dataclass(frozen=True)
class RetryConfig:
    """How patient a job is.

    Attributes:
        first_seconds, multiplier, longest_seconds: of rest after the first failure in a row, how
            it grows, and what it does not exceed.
        patience_seconds: after which a job that has not gone on meanwhile fails.
    """

    first_seconds: float = 0.5
    multiplier: float = 2.0
    longest_seconds: float = 30.0
    patience_seconds: float = 86_400.0

    def rest(self, tries: int) -> float:
        """Seconds of rest after so many failures in a row, this one not among them."""
        return min(self.first_seconds * self.multiplier ** min(tries, 64), self.longest_seconds)


def judged(error: Exception, where: str, name: str) -> JobFailed | JobWaits:
    """Whether what went wrong with a file may be tried again, in words for whoever waits.

    Args:
        error: what was raised.
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
    # Whoever speaks to a store over a network often says no number.
    if isinstance(error, OSError) and error.errno is None and not isinstance(error, LASTING):
        return JobWaits(why, Cause.OUTPUT)
    if isinstance(error, OSError):
        return JobFailed(why, Cause.OUTPUT)
    return JobFailed(f"{name} cannot be made: {type(error).__name__}: {error}")


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
