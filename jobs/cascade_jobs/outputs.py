"""Permitted outputs of results, decided by the caller's access before a job is recorded.

A caller on the server's own socket is the user that the server runs as, and may write results
wherever that user may write. Callers over the network are not authenticated: their results go into
the server's own folder, or below prefixes that the operator has allowed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cascade_tables.connectors.locations import (
    FILES,
    FROM_ENVIRONMENT,
    Kind,
    Location,
    leads_elsewhere,
    location_of,
    others_location,
    redacted,
)
from cascade_tables.errors import DataError

from cascade_jobs.errors import OutputNotPermitted, SpecificationRefused
from cascade_jobs.stores import is_url

LONGEST = 1024
# Aliases of a store's scheme: a place must have only one notation.
SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
# fsspec's schemes for local folders.
LOCAL = ("file", "local")


def checked_output(output: str, may_be_anywhere: bool, prefixes: Sequence[str]) -> str:
    """Normalise an output to an absolute path, or a URL without a password.

    A place has only one form, so that two jobs can be prevented from writing to it.

    Args:
        output: a folder, a file by its name, or a URL, including one of a table; "": the server's
            own folder.
        may_be_anywhere: whether the caller is the user that the server runs as.
        prefixes: folders and URLs below which any caller's results may go.

    Raises:
        SpecificationRefused: it is no folder or URL that results can go to.
        OutputNotPermitted: this caller may not write there.
    """
    if not output:
        return ""
    if len(output) > LONGEST or not output.isprintable():
        raise SpecificationRefused(
            f"output is {redacted(output)[:80]!r}; allowed: a folder or URL of {LONGEST} printable "
            "characters at most"
        )
    output = _local_path(output)
    if is_url(output) or output.startswith(FROM_ENVIRONMENT):
        table = _table(output)
        if table is not None:
            return _checked_table(table, may_be_anywhere, prefixes)
        return _checked_url(output, may_be_anywhere, prefixes)
    if not os.path.isabs(output):
        raise SpecificationRefused(
            f"output is {output!r}; allowed: an absolute path of the server's, a URL such as "
            "s3://bucket/folder, or nothing for the server's own folder"
        )
    try:
        return _checked_path(output, may_be_anywhere, prefixes)
    except (OSError, RuntimeError) as exc:  # a name too long, a loop of links, or no permission
        why = getattr(exc, "strerror", None) or str(exc)
        raise SpecificationRefused(
            f"output {output} cannot be looked at: {why}; allowed: a folder or file of the "
            "server's that it may write"
        ) from exc


def _checked_path(output: str, may_be_anywhere: bool, prefixes: Sequence[str]) -> str:
    # Links are followed as far as they exist, so that none leads out of the allowed prefixes.
    found = Path(output).resolve()
    if not may_be_anywhere:
        plain = map(_local_path, prefixes)
        folders = [Path(each).resolve() for each in plain if not is_url(each)]
        if not any(found.is_relative_to(each) for each in folders):
            raise _not_permitted(output, prefixes)
    # Existing files are no error: this job may have made them before.
    if found.exists() and found.is_dir() == output.lower().endswith(FILES):
        raise SpecificationRefused(
            f"output {found} is there and is {'a folder' if found.is_dir() else 'no folder'}; "
            f"allowed: a folder, or a file whose name ends in {', '.join(FILES)}"
        )
    return str(found)


def _table(output: str) -> Location | None:
    """Return the database or Delta table that a URL names; None: it names files.

    Raises:
        SpecificationRefused: the URL is invalid, or contains a password, which is not shown.
    """
    try:
        location = others_location(output)
    except DataError as exc:
        raise SpecificationRefused(f"output: {exc}") from None
    if location.kind is Kind.FILES:
        return None
    if location.kind is Kind.DATABASE and not location.table:
        raise SpecificationRefused(
            f"output is {location}, which names no table; allowed: {location.url}#TABLE"
        )
    return location


def _checked_table(table: Location, may_be_anywhere: bool, prefixes: Sequence[str]) -> str:
    if table.kind is Kind.DELTA:
        if leads_elsewhere(table.url):
            raise SpecificationRefused(
                f"output is {str(table)!r}; allowed: a URL without '.' and '..' among its folders, "
                "such as delta+s3://bucket/folder"
            )
        table = _resolved(table)
    if not may_be_anywhere and not any(map(table.is_below, _locations(prefixes))):
        raise _not_permitted(str(table), prefixes)
    return str(table)


def _resolved(table: Location) -> Location:
    """Resolve the links of a local Delta table, so that none leads out of the allowed prefixes;
    leave others unchanged.
    """
    scheme, _, path = table.url.partition("://")
    if scheme not in ("delta", "delta+file") or not path.startswith("/"):
        return table
    return replace(table, scheme="delta", url=f"delta://{Path(path).resolve()}")


def _locations(prefixes: Sequence[str]) -> Iterator[Location]:
    for prefix in filter(is_url, prefixes):
        with suppress(DataError):  # one that cannot be read permits nothing
            location = location_of(prefix)
            yield _resolved(location) if location.kind is Kind.DELTA else location


def _local_path(output: str) -> str:
    """Return the path of a local URL; others unchanged."""
    scheme, mark, path = output.partition("://")
    return path if mark and scheme.lower() in LOCAL and path.startswith("/") else output


def _plain_url(url: str) -> str:
    """Return the canonical form of a URL of files."""
    scheme, _, path = url.rstrip("/").partition("://")
    scheme = scheme.lower()
    return f"{SCHEMES.get(scheme, scheme)}://{path}"


def _checked_url(output: str, may_be_anywhere: bool, prefixes: Sequence[str]) -> str:
    found = _plain_url(output)
    scheme, _, path = found.partition("://")
    # Chained URLs and parent references might lead anywhere; and an empty part, which may or may
    # not be a folder, would give one place two names.
    if "::" in output or not scheme.isalnum() or leads_elsewhere(path) or "" in path.split("/"):
        raise SpecificationRefused(
            f"output is {output!r}; allowed: one URL without '.', '..' and empty names among its "
            "folders, such as s3://bucket/folder"
        )
    if not may_be_anywhere:
        urls = [_plain_url(each) for each in prefixes if is_url(each)]
        if not any(found == each or found.startswith(each + "/") for each in urls):
            raise _not_permitted(output, prefixes)
    return found


def _not_permitted(output: str, prefixes: Sequence[str]) -> OutputNotPermitted:
    allowed = " or ".join(["nothing, for the server's own folder", *prefixes])
    return OutputNotPermitted(
        f"output is {output!r}, where nobody's results may go who asks over the network; allowed: "
        f"{allowed} (job_outputs). The Unix socket control.sock in the server's --state-dir takes "
        "any folder"
    )
