"""What databases say when something is wrong, in one line, with what to do, and no password."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain

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
# What says that a database is away, or busy with others, and nothing of what it is asked: whoever
# waits is let in later. By what URLs call it; "": what a network says, whoever is behind it. A
# database that is not among them may speak any of these languages.
_AWAY: Mapping[str, tuple[str, ...]] = {
    "": (
        *("connection refused", "connection reset", "connection aborted", "connection timed out"),
        *("could not connect", "failed to connect", "can't connect", "error sending request"),
        *("timeout expired", "timed out", "broken pipe", "no such file or directory"),
        *("no route to host", "host is down", "network is (unreachable|down)", "dns error"),
        *("could not translate host", "name or service not known", "name resolution"),
    ),
    "postgresql": (
        *("the database system is", "terminating connection", "server closed the"),
        *("ssl syscall error", "ssl connection has been closed", "ssl error: unexpected eof"),
        *("could not (send data to|receive data from) server", "no connection to the server"),
    ),
    "mysql": ("lost connection", "server has gone away", "server shutdown in progress"),
    "mssql": ("communication link failure", "is not currently available", "server is unavailable"),
    "oracle": ("ora-(01033|01034|01089|03113|03114|03135|12514|12528|12537|12541|12547|12170)",),
    # Of stores, which are asked again and again where that may help.
    "delta": (r"after \d+ retries",),
}
_BUSY: Mapping[str, tuple[str, ...]] = {
    "": (),
    "postgresql": (
        *("too many clients", "remaining connection slots", "too many connections"),
        *("could not obtain lock", "due to lock timeout", "deadlock detected"),
        *("could not serialize access", "conflict with recovery"),
    ),
    "sqlite": (r"(database|database table|database schema)( \S+)? is locked",),
    "duckdb": ("could not set lock on file", "different configuration than existing connections"),
    "mysql": ("too many connections", "lock wait timeout exceeded", "deadlock found"),
    "mssql": ("lock request time out", "deadlock victim"),
    "oracle": ("ora-(00018|00020|00054|00060|12516|12518|12519|12520|30006)",),
}
# Which speak another one's language.
_LIKE = {"postgres": "postgresql", "redshift": "postgresql", "mariadb": "mysql"}
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
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
    """A database that is away, or busy with others, and may be there later."""


class Refused(DataError):
    """A database that does not know who asks, or does not permit what is asked."""


class Missing(DataError):
    """A table that there is not."""


def said(error: BaseException, *secrets: str) -> str:
    """What a database says, as one line without what is to be seen by nobody."""
    text = _BEHIND.sub("", str(error))
    text = _BEFORE.sub("", text.strip())
    # libpq points at the place in the next line, which is lost where lines are joined, and Delta
    # Lake draws arrows, in colours.
    lines = [
        line.strip(" \t↳") for line in _COLOUR.sub("", text).splitlines() if line.strip(" \t^")
    ]
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
    if (passing := unreachable(text, where, location.scheme)) is not None:
        return passing
    if location.query:
        return DataError(f"{where} does not understand the query {shown(location.query)}: {text}")
    return DataError(f"{redacted(str(location), *secrets)}: {text}")


def unreachable(text: str, where: str, scheme: str) -> Unreachable | None:
    """The error for a database that is only away or busy; None: that is not what it says.

    Args:
        text: what it says.
        where: it is, to be shown.
        scheme: of its URL.
    """
    if _says(text, _BUSY, scheme):
        return Unreachable(f"{where} is busy: {text}; try again when others have let go of it")
    if _says(text, _AWAY, scheme):
        return Unreachable(
            f"{where} cannot be reached: {text}; see whether the host and the port are right, and "
            "whether it is running"
        )
    return None


def _says(text: str, texts: Mapping[str, Sequence[str]], scheme: str) -> bool:
    name = scheme.partition("+")[0]
    name = _LIKE.get(name, name)
    known = name in _AWAY or name in _BUSY
    asked = (*texts[""], *texts.get(name, ())) if known else chain(*texts.values())
    return any(re.search(each, text, re.I) for each in asked)


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
