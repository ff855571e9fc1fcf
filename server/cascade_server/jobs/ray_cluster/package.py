"""A release as a value that can be sent to another machine, and is unpacked and verified there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cascade_tables import ReleaseError, read_manifest
from cascade_tables.releases.reading import read_file
from cascade_tables.releases.release import MANIFEST


@dataclass(frozen=True)
class ReleasePackage:
    """A release's files. They are networks and a codec; they contain no rows of the table.

    Attributes:
        table, version: identify the release.
        digest: digest of its manifest; see `ReleaseManifest`.
        files: bytes by path in a model repository, including the manifest.
    """

    table: str
    version: int
    digest: str
    files: Mapping[str, bytes]

    def unpack(self, repository: Path) -> None:
        """Write the files into a folder, which is then a model repository.

        Raises:
            ReleaseError: a path leads out of the folder, or the files are those of another release.
        """
        root = repository.resolve()
        for name, content in self.files.items():
            path = (root / name).resolve()
            if not path.is_relative_to(root):
                raise ReleaseError(f"file {name!r} of a release leads out of its repository")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        found = read_manifest(repository, self.table, self.version).digest
        if found != self.digest:
            raise ReleaseError(
                f"{self.table} version {self.version} came as release {found}, not {self.digest}"
            )


def pack_release(repository: Path, table: str, version: int) -> ReleasePackage:
    """Read a release's files unchanged.

    Raises:
        ReleaseError: a file is missing or unreadable.
    """
    manifest = read_manifest(repository, table, version)
    names = [*manifest.files, f"{table}/{version}/{MANIFEST}"]
    files = {name: read_file(repository, name) for name in names}
    return ReleasePackage(table, version, manifest.digest, files)
