"""The releases of a model repository, loaded and verified, by table and version."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from cascade_tables import ReleaseError, list_releases, load_release

from cascade_server.errors import UnknownTable
from cascade_server.router import Tier
from cascade_server.runtime import Runtime


@dataclass(frozen=True)
class Loaded:
    """What loading one release took, for the log."""

    table: str
    version: int
    columns: int
    seconds: float


class Repository:
    """Runtimes by table and version; the highest version of a table is its latest."""

    def __init__(self, tables: Mapping[str, Mapping[int, Runtime]]) -> None:
        self.tables = {name: dict(sorted(tables[name].items())) for name in sorted(tables)}

    @classmethod
    def load(
        cls,
        folder: Path,
        teacher_threads: int,
        report: Callable[[Loaded], None],
        tiers: Collection[Tier] = tuple(Tier),
    ) -> Repository:
        """Verify, load and warm every release of a folder; of each the tiers that are asked for.

        Raises:
            ReleaseError: there are none, or one is not whole; names the file.
        """
        found = list_releases(folder)
        if not found:
            raise ReleaseError(
                f"model repository {folder} holds no release; `cascade release` writes one"
            )
        tables: dict[str, dict[int, Runtime]] = {}
        for table, versions in found.items():
            for version in versions:
                began = time.monotonic()
                runtime = Runtime(load_release(folder, table, version), teacher_threads, tiers)
                runtime.warm()
                tables.setdefault(table, {})[version] = runtime
                report(Loaded(table, version, runtime.columns, time.monotonic() - began))
        return cls(tables)

    def find(self, table: str, version: int = 0) -> Runtime:
        """A table's runtime of one version; 0: the latest.

        Raises:
            UnknownTable: names what there is.
        """
        versions = self.versions(table)
        if version == 0:
            return next(reversed(versions.values()))
        if version not in versions:
            raise UnknownTable.version(table, version, versions)
        return versions[version]

    def versions(self, table: str) -> dict[int, Runtime]:
        """A table's runtimes by version.

        Raises:
            UnknownTable: names the tables there are.
        """
        if table not in self.tables:
            raise UnknownTable.table(table, self.tables)
        return self.tables[table]
