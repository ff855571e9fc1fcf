"""The releases of a model repository, loaded and verified, by table and version."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from cascade_tables import ReleaseError, list_releases, load_release

from cascade_server.errors import UnknownTable
from cascade_server.gpu.opening import open_runtime
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
        runtime: str = "cpu",
    ) -> Repository:
        """Verify, load and warm every release of a folder; of each the tiers that are asked for.

        Raises:
            ReleaseError: there are none, or one is not whole; names the file.
            GpuError: the runtime that was asked for cannot be had; says what is missing.
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
                release = load_release(folder, table, version)
                opened = open_runtime(release, folder, teacher_threads, tiers, runtime)
                opened.warm()
                tables.setdefault(table, {})[version] = opened
                report(Loaded(table, version, opened.columns, time.monotonic() - began))
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
