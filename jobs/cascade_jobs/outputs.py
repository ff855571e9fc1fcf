"""Where results may go: decided before a job is written down, by who asks for it.

Whoever may open the server's own socket is the user that it runs as, and may have results written
wherever that user may write. Callers over the network are not asked who they are: theirs go into
the server's own folder, or below what the operator has allowed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from cascade_tables.connectors.locations import FILES, Kind, Location, location_of, redacted
from cascade_tables.errors import DataError

from cascade_jobs.errors import OutputNotPermitted, SpecificationRefused
from cascade_jobs.stores import is_url

LONGEST = 1024


def checked_output(output: str, may_be_anywhere: bool, prefixes: Sequence[str]) -> str:
    """An output in the one form in which it is written down: an absolute path, or a URL, in which
    there is no password.

    Args:
        output: a folder, a file by its name, or a URL, of a table too; "": the server's own folder.
        may_be_anywhere: whether who asks is the user that the server runs as.
        prefixes: folders and URLs below which anybody's results may go.

    Raises:
        SpecificationRefused: it is no folder or URL that results can go to.
        OutputNotPermitted: not for who asks from there.
    """
    if not output:
        return ""
    if len(output) > LONGEST or not output.isprintable():
        raise SpecificationRefused(
            f"output is {redacted(output)[:80]!r}; allowed: a folder or URL of {LONGEST} printable "
            "characters at most"
        )
    if is_url(output):
        table = _table(output)
        if table is not None:
            return _checked_table(output, table, may_be_anywhere, prefixes)
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
    # Links are followed as far as there are any, so that none leads out of what is allowed.
    found = Path(output).resolve()
    if not may_be_anywhere:
        folders = [Path(each).resolve() for each in prefixes if not is_url(each)]
        if not any(found.is_relative_to(each) for each in folders):
            raise _not_permitted(output, prefixes)
    # Whether anything is there is not asked: it may be what this very job has made before.
    if found.exists() and found.is_dir() == output.lower().endswith(FILES):
        raise SpecificationRefused(
            f"output {found} is there and is {'a folder' if found.is_dir() else 'no folder'}; "
            f"allowed: a folder, or a file whose name ends in {', '.join(FILES)}"
        )
    return str(found)


def _table(output: str) -> Location | None:
    """The table of a database, or of Delta Lake, that a URL names; None: it names files.

    Raises:
        SpecificationRefused: it is no URL, or has a password in it, which is not shown.
    """
    try:
        location = location_of(output)
    except DataError as exc:
        raise SpecificationRefused(f"output: {exc}") from None
    if location.kind is Kind.FILES:
        return None
    if location.kind is Kind.DATABASE and not location.table:
        raise SpecificationRefused(
            f"output is {location}, which names no table; allowed: {location.url}#TABLE"
        )
    return location


def _checked_table(
    output: str, table: Location, may_be_anywhere: bool, prefixes: Sequence[str]
) -> str:
    if not may_be_anywhere and not any(map(table.is_below, _locations(prefixes))):
        raise _not_permitted(str(table), prefixes)
    return str(table)


def _locations(prefixes: Sequence[str]) -> Iterator[Location]:
    for prefix in filter(is_url, prefixes):
        with suppress(DataError):  # one that cannot be read permits nothing
            yield location_of(prefix)


def _checked_url(output: str, may_be_anywhere: bool, prefixes: Sequence[str]) -> str:
    scheme, _, path = output.rstrip("/").partition("://")
    # What fsspec chains, and what stands for the folder above, might lead anywhere.
    if "::" in output or not scheme.isalnum() or not path or ".." in PurePosixPath(path).parts:
        raise SpecificationRefused(
            f"output is {output!r}; allowed: one URL without '..', such as s3://bucket/folder"
        )
    found = f"{scheme}://{path}"
    if not may_be_anywhere:
        urls = [each.rstrip("/") for each in prefixes if is_url(each)]
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
