"""The content of a model repository according to its manifests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cascade_tables import ReleaseError, list_releases, read_manifest
from cascade_tables.releases.remote import RemoteRepository, is_url

from cascade_server.errors import ReleaseRefused

Key = tuple[str, int]
Wanted = Mapping[str, Collection[int]]


@dataclass(frozen=True)
class Seen:
    """One release by its manifest; empty if that cannot be read."""

    digest: str = ""
    created: str = ""


@dataclass(frozen=True)
class Found:
    """All releases.

    Attributes:
        versions: by table, in increasing order.
        releases: by table and version.
    """

    versions: Mapping[str, Collection[int]]
    releases: Mapping[Key, Seen]

    def digest(self, table: str, version: int) -> str:
        """Return the digest of a release; empty if there is none."""
        return self.releases.get((table, version), Seen()).digest

    def to_list(self) -> list[list[Any]]:
        """Convert to JSON, for `of_list`."""
        return [[*key, seen.digest, seen.created] for key, seen in self.releases.items()]

    @classmethod
    def of_list(cls, releases: list[list[Any]]) -> Found:
        """Return the original of `to_list`."""
        versions: dict[str, list[int]] = {}
        for table, version, _, _ in releases:
            versions.setdefault(table, []).append(version)
        found = {(table, version): Seen(*seen) for table, version, *seen in releases}
        return cls(versions, found)

    def digests(self, wanted: Wanted) -> dict[Key, str]:
        """Return the digests of some releases' manifests, which show whether they have changed."""
        return {
            (table, version): self.digest(table, version)
            for table, versions in wanted.items()
            for version in versions
        }

    def without(self, some: Collection[Key]) -> dict[str, list[int]]:
        """Return versions by table, except some."""
        return {
            table: [version for version in versions if (table, version) not in some]
            for table, versions in self.versions.items()
        }


class Source(Protocol):
    """A repository.

    Attributes:
        name: as it was given.
        path: the folder on this machine that releases are loaded from.
        is_remote: whether releases must be fetched to that folder, by a process that may take time.
    """

    name: str
    path: Path
    is_remote: bool

    def look(self) -> Found:
        """Return the current content.

        Raises:
            ReleaseError: it cannot be read.
        """

    def fetch(self, wanted: Callable[[Found], Wanted]) -> Found:
        """Fetch into the folder those releases that `wanted` selects from the content.

        Raises:
            ReleaseError: they are not available.
        """

    def knows(self, found: Found) -> None:
        """Take over the content that another process's `fetch` has found."""


class Folder:
    """A repository on a disk of this machine."""

    is_remote = False

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)

    def look(self) -> Found:
        versions = list_releases(self.path)
        releases = {}
        for table, numbers in versions.items():
            for version in numbers:
                try:
                    manifest = read_manifest(self.path, table, version)
                    seen = Seen(manifest.digest, manifest.created)
                except ReleaseError:
                    seen = Seen()  # loading it reports what is wrong
                releases[table, version] = seen
        return Found(versions, releases)

    def fetch(self, wanted: Callable[[Found], Wanted]) -> Found:
        """See `Source`: the releases are there already."""
        return self.look()

    def knows(self, found: Found) -> None:
        """See `Source`: not needed, since `look` reads the folder."""


class Remote:
    """A repository behind a URL; wanted releases lie in the cache directory.

    Raises:
        ReleaseError: this kind of URL is not supported.
    """

    is_remote = True

    def __init__(self, url: str, cache: Path) -> None:
        self._repository = RemoteRepository(url)
        self.name = url
        digest = hashlib.sha256(url.encode()).hexdigest()[:16]
        self.path = cache / "repositories" / digest
        self._found = Found({}, {})

    def look(self) -> Found:
        """See `Source`: the content as of the last `fetch`."""
        return self._found

    def fetch(self, wanted: Callable[[Found], Wanted]) -> Found:
        versions = self._repository.releases()
        releases = {}
        for table, numbers in versions.items():
            for version in numbers:
                try:
                    manifest = self._repository.manifest(table, version)
                    seen = Seen(manifest.digest, manifest.created)
                except ReleaseError:
                    seen = Seen()
                releases[table, version] = seen
        found = Found(versions, releases)
        for table, some in wanted(found).items():
            for version in some:
                try:
                    self._repository.fetch(table, version, self.path)
                except ReleaseError as exc:
                    raise ReleaseRefused.of(table, version, exc) from exc
        return found

    def knows(self, found: Found) -> None:
        self._found = found


def source_of(repository: str) -> Source:
    """Return the source for a folder's path, or for a URL that fsspec knows.

    Raises:
        ReleaseError: this kind of URL is not supported.
    """
    if not is_url(repository):
        return Folder(Path(repository))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cascade"
    return Remote(repository, cache)
