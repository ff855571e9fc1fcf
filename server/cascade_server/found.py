"""What a model repository holds, as far as its manifests say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cascade_tables import ReleaseError, list_releases, read_manifest

Key = tuple[str, int]


@dataclass(frozen=True)
class Seen:
    """One release, by its manifest; empty where that cannot be read."""

    digest: str = ""
    created: str = ""


@dataclass(frozen=True)
class Found:
    """All of them.

    Attributes:
        versions: by table, in increasing order.
        releases: by table and version.
    """

    versions: Mapping[str, Collection[int]]
    releases: Mapping[Key, Seen]

    def digest(self, table: str, version: int) -> str:
        """Of a release; empty where there is none."""
        return self.releases.get((table, version), Seen()).digest

    def without(self, some: Collection[Key]) -> dict[str, list[int]]:
        """Versions by table, but for some."""
        return {
            table: [version for version in versions if (table, version) not in some]
            for table, versions in self.versions.items()
        }


class Source(Protocol):
    """A repository.

    Attributes:
        name: as it was given.
        path: the folder on this machine that releases are loaded from.
    """

    name: str
    path: Path

    def look(self) -> Found:
        """What is there now.

        Raises:
            ReleaseError: it cannot be read.
        """


class Folder:
    """A repository on a disk of this machine."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)

    def look(self) -> Found:
        """See `Source`."""
        versions = list_releases(self.path)
        releases = {}
        for table, numbers in versions.items():
            for version in numbers:
                try:
                    manifest = read_manifest(self.path, table, version)
                    seen = Seen(manifest.digest, manifest.created)
                except ReleaseError:
                    seen = Seen()  # to load it says what is wrong
                releases[table, version] = seen
        return Found(versions, releases)


def source_of(repository: str) -> Source:
    """A folder's path, or a URL that fsspec knows."""
    return Folder(Path(repository))
