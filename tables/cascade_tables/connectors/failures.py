"""What databases say when something is wrong, in one line, with what to do, and no password."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cascade_tables.connectors.locations import (
    PASSWORD,
    PASSWORD_FILE,
    Location,
    redacted,
)
from cascade_tables.errors import DataError, did_you_mean, listing, shown

# What drivers and SQLAlchemy put before and behind what the database says.
_BEFORE = re.compile(
    r"^(\([\w.]+\)\s*)?((UNKNOWN|IO|INVALID_ARGUMENT|INTERNAL|UNAUTHENTICATED|UNAUTHORIZED|NOT_FOUND|"
    r"ALREADY_EXISTS|INVALID_STATE|INVALID_DATA|INTEGRITY|NOT_IMPLEMENTED|CANCELLED|TIMEOUT):\s*)?"
    r"(\[\w+\]\s*)?(Failed to (prepare|execute) query( '.*?')?: |Failed to connect: )?(ERROR:\s*)?",
    re.S,
)
_BEHIND = re.compile(
    r"\s*(\(Background on this error at:.*|\[SQL: .*|\[parameters: .*|Query was: .*"
    r"|\.? ?SQLSTATE: \w+)$",
    re.S,
)
_AWAY = re.compile(
    r"connection refused|could not connect|failed to connect|could not translate host"
    r"|timeout expired|timed out|no route to host|network is unreachable|name or service not known"
    r"|server closed the"
    r"|can't connect|connection reset|terminating connection|no such file or directory"
    r"|the database system is",
    re.I,
)
_WHO = re.compile(
    r"password authentication failed|no password supplied|access denied|login failed"
    r"|authentication failed|role .* does not exist",
    re.I,
)
_NO_TABLE = re.compile(
    r"relation .* does not exist|no such table|table with name .* does not exist|doesn't exist",
    re.I,
)


class Unreachable(DataError):
    """A database that is away, and may come back."""


class Refused(DataError):
    """A database that does not know who asks, or does not permit what is asked."""


class Missing(DataError):
    """A table that there is not."""


def said(error: BaseException, *secrets: str) -> str:
    """What a database says, as one line without what is to be seen by nobody."""
    text = _BEHIND.sub("", str(error))
    text = _BEFORE.sub("", text.strip())
    # libpq points at the place in the next line, which is lost where lines are joined.
    lines = [line.strip() for line in text.splitlines() if line.strip(" \t^")]
    return redacted(" ".join(lines), *secrets)[:600]


def failure(
    error: BaseException,
    location: Location,
    secrets: Sequence[str] = (),
    tables: Sequence[str] = (),
) -> DataError:
    """The error for what a database has refused.

    Args:
        error: as the driver raised it.
        location: what was asked for.
        secrets: not to be shown.
        tables: that there are, where one is missing.
    """
    text = said(error, *secrets)
    where = redacted(location.url, *secrets)
    if _WHO.search(text):
        return Refused(
            f"{where} refuses who asks: {text}; the password is read from {PASSWORD}, or from the "
            f"file that {PASSWORD_FILE} names, and the user from the URL (scheme://USER@host/...)"
        )
    if re.search("permission denied|must be owner|read-only|readonly", text, re.I):
        return Refused(f"{redacted(str(location), *secrets)} is not permitted: {text}")
    if location.table and _NO_TABLE.search(text):
        return missing(location, tables)
    if _AWAY.search(text):
        return Unreachable(
            f"{where} cannot be reached: {text}; see whether the host and the port are right, and "
            "the database is running"
        )
    if location.query:
        return DataError(f"{where} does not understand the query {shown(location.query)}: {text}")
    return DataError(f"{redacted(str(location), *secrets)}: {text}")


def missing(location: Location, tables: Sequence[str]) -> Missing:
    """The error for a table that there is not."""
    name = ".".join(location.table)
    there = f"it has {listing(tables)}" if tables else "it has no tables that this user may see"
    perhaps = did_you_mean(name, tables)
    stop = "." if perhaps else ""
    return Missing(f"{location.url} has no table {shown(name)}; {there}{stop}{perhaps}")


def unnamed(location: Location, tables: Sequence[str]) -> DataError:
    """The error for a database of which no table is named."""
    there = f"; it has {listing(tables)}" if tables else ""
    return DataError(
        f"{location.url} names no table; put one behind it ({location.url}#TABLE), or a query "
        f"('{location.url}#select ...'){there}"
    )


def lacks(package: str, extra: str, location: Location) -> DataError:
    """The error for a package that is not installed."""
    return DataError(
        f"{location.url} needs {package}: pip install 'cascade-synthesis[{extra}]'"
        if extra
        else f"{location.url} needs {package}: pip install {package}"
    )
