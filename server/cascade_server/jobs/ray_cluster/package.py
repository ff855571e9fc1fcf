"""A release as a value that can be sent to another machine, and unpacked and verified there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cascade_tables import ReleaseError, read_manifest
from cascade_tables.releases.reading import read_file
from cascade_tables.releases.release import MANIFEST


@dataclass(frozen=True)
class ReleasePackage:
    """A release's files. They are networks and a codec; there are no rows of the table in them.

    Attributes:
        table, version: of the release.
        digest: of its manifest; see `ReleaseManifest`.
        files: bytes by path in a model repository, the manifest among them.
    """

    table: str
    version: int
    digest: str
    files: Mapping[str, bytes]

    def unpack(self, repository: Path) -> None:
        """Write them into a folder, which is then a model repository.

        Raises:
            ReleaseError: a path leads out of the folder, or they are those of another release.
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
    """Read a release's files as they are.

    Raises:
        ReleaseError: one is missing, or none that may be read.
    """
    manifest = read_manifest(repository, table, version)
    names = [*manifest.files, f"{table}/{version}/{MANIFEST}"]
    files = {name: read_file(repository, name) for name in names}
    return ReleasePackage(table, version, manifest.digest, files)
