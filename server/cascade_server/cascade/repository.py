"""The releases of a model repository, loaded and verified, by table and version."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from cascade_tables import ReleaseError, list_releases, load_release

from cascade_server.cascade.rehearsal import rehearse
from cascade_server.counts.shared.live_versions import LiveVersions
from cascade_server.engines.gpu.opening import open_runtime
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import GpuError, ReleaseRefused, UnknownTable
from cascade_server.memory import Memory
from cascade_server.terms import Tier

# Cached restricted repositories, one for each set of tables.
MOST_VIEWS = 1024


@dataclass(frozen=True)
class Loaded:
    """A release that has been loaded, for the log.

    Attributes:
        columns: number of columns of its table.
        seconds: duration of loading and warming.
        student_by: the runtime of the student, such as "compiled code"; empty if another server
            runs it.
        rows_by: what encodes and decodes single rows; empty if another server does.
    """

    table: str
    version: int
    columns: int
    seconds: float
    student_by: str = ""
    rows_by: str = ""


class Repository:
    """The loaded releases of a server.

    Args:
        tables: a runtime for each release, by table and version.
        live_versions: the version that answers requests that name none; None: the highest.
    """

    def __init__(
        self, tables: Mapping[str, Mapping[int, Runtime]], live_versions: LiveVersions | None = None
    ) -> None:
        self.tables = {name: dict(sorted(tables[name].items())) for name in sorted(tables)}
        self.live_versions = live_versions or LiveVersions((), Memory())
        self._views: dict[frozenset[str], Repository] = {}

    def restricted_to(self, tables: frozenset[str] | None) -> Repository:
        """Return the repository limited to the tables that a tenant may see; None: all."""
        if tables is None:
            return self
        view = self._views.get(tables)
        if view is None:
            if len(self._views) >= MOST_VIEWS:
                self._views.clear()
            seen = {name: each for name, each in self.tables.items() if name in tables}
            view = self._views[tables] = Repository(seen, self.live_versions)
        return view

    @classmethod
    def load(
        cls,
        folder: Path,
        teacher_threads: int,
        report: Callable[[Loaded], None],
        tiers: Collection[Tier] = tuple(Tier),
        wanted: Mapping[str, Collection[int]] | None = None,
        live_versions: LiveVersions | None = None,
        pause: Callable[[], None] = lambda: None,
        runtime: str = "cpu",
    ) -> Repository:
        """Verify, load and warm the releases of a folder.

        Args:
            folder: the model repository.
            teacher_threads: threads of one pass of a teacher.
            report: called with each loaded release.
            tiers: the networks to load: student, teacher, both or none.
            wanted: versions to load by table; None: all.
            live_versions: as for the repository.
            pause: called after each piece of work, to yield the processor to other processes.
            runtime: the runtime of the networks, one of `runtimes.RUNTIMES`.

        Raises:
            ReleaseRefused: a release is damaged or cannot be run; names the file.
            ReleaseError: the folder holds no release.
            GpuError: the requested runtime cannot be used; says what is missing.
        """
        found = list_releases(folder) if wanted is None else wanted
        if not found:
            raise ReleaseError(
                f"model repository {folder} holds no release; `cascade release` writes one"
            )
        tables: dict[str, dict[int, Runtime]] = {}
        for table, versions in found.items():
            for version in versions:
                began = time.monotonic()
                try:
                    release = load_release(folder, table, version)
                    pause()
                    opened = open_runtime(release, folder, teacher_threads, tiers, runtime)
                    pause()
                    opened.warm(pause)
                    if Tier.STUDENT in tiers:
                        rehearse(opened)
                        pause()
                except GpuError:
                    raise
                except Exception as exc:
                    # Libraries raise anything of a damaged file; the error is to name the release.
                    raise ReleaseRefused.of(table, version, exc) from exc
                tables.setdefault(table, {})[version] = opened
                seconds = time.monotonic() - began
                report(
                    Loaded(
                        table,
                        version,
                        opened.columns,
                        seconds,
                        student_by=opened.student_by,
                        rows_by=opened.rows_by,
                    )
                )
        return cls(tables, live_versions)

    @property
    def runtimes(self) -> list[Runtime]:
        """The runtimes of all tables and versions."""
        return [runtime for versions in self.tables.values() for runtime in versions.values()]

    def find(self, table: str, version: int = 0, lot: float = 1.0) -> Runtime:
        """Return the runtime that answers a request.

        Args:
            table: the table's name.
            version: the release's version; 0: the one that answers requests that name none.
            lot: from 0 to 1, decides between the stable version and a canary; see
                `live_versions.lot_of`.

        Raises:
            UnknownTable: there is no such table or version; names those that exist.
        """
        versions = self.versions(table)
        if version == 0:
            return versions[self.live_versions.choose(table, lot, versions)]
        if version not in versions:
            raise UnknownTable.version(table, version, versions)
        return versions[version]

    def versions(self, table: str) -> dict[int, Runtime]:
        """Return a table's runtimes, by version.

        Raises:
            UnknownTable: there is no such table; names those that exist.
        """
        if table not in self.tables:
            raise UnknownTable.table(table, self.tables)
        return self.tables[table]
