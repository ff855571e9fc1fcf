"""Sources: what a URL names, as files of this machine that can be read as often as need be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cascade_tables.connectors.locations import ADBC, Kind, Location, location_of
from cascade_tables.connectors.locations import is_url as is_url
from cascade_tables.errors import DataError


def connected(location: Location) -> Any:
    """Who reads and writes a table that is more than a file: a database, or Delta Lake.

    Raises:
        DataError: a package for it is not installed.
    """
    if location.kind is Kind.DELTA:
        from cascade_tables.connectors.delta import DeltaLake

        return DeltaLake(location)
    if location.scheme in ADBC:
        from cascade_tables.connectors.adbc import AdbcDatabase

        return AdbcDatabase(location)
    from cascade_tables.connectors.alchemy import AlchemyDatabase

    return AlchemyDatabase(location)


def fetch_source(url: str | Location, folder: Path) -> list[Path]:
    """Copy what a URL names into files that `files.reading` reads.

    A table of a database, the rows of a query and a Delta table become one Parquet file, read as
    one moment has them. Files are copied as they are.

    Args:
        url: see `locations`.
        folder: where to; it is made where there is none.

    Returns:
        The files: of one table, and one unless the URL has a * in it.

    Raises:
        DataError: it cannot be read; names the culprit and what to do, and shows no password.
    """
    location = url if isinstance(url, Location) else location_of(url)
    folder.mkdir(parents=True, exist_ok=True)
    if location.kind is Kind.FILES:
        from cascade_tables.connectors import remote_files

        if (
            location.scheme != "file"
            and "*" not in location.url
            and remote_files.is_delta(location)
        ):
            return fetch_source(_as_delta(location), folder)
        return remote_files.fetched(location, folder)
    from cascade_tables.connectors.spooling import spool

    path, number = folder / f"{_file_name(location.name)}.parquet", 1
    while path.exists():
        number += 1
        path = folder / f"{_file_name(location.name)}-{number}.parquet"
    spool(connected(location).chunks(), path, str(location))
    return [path]


def _as_delta(location: Location) -> Location:
    return Location(
        Kind.DELTA,
        f"delta+{location.scheme}",
        f"delta+{location.url}",
        secrets=location.secrets,
    )


def _file_name(name: str) -> str:
    """A table's name as a file's: whatever is in it, one part of a path."""
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:80].lstrip(".")
    return kept or "table"


def tables_of(url: str) -> list[str]:
    """The tables and views of a database that a URL names."""
    location = location_of(url)
    if location.kind is not Kind.DATABASE:
        raise DataError(f"{location} is no database")
    found: list[str] = connected(location).tables()
    return found
