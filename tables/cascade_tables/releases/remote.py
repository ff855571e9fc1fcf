"""A model repository behind a URL, accessed by fsspec: s3://, gs://, http://, sftp://, file:// and
so on.

Releases are copied to and from a local folder. Every file is checked against the hash in its
release's manifest; the manifest comes last, in both directions, so that a reader sees a whole
release or none.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cascade_tables.errors import ReleaseError
from cascade_tables.releases.reading import LIMITS, check_size
from cascade_tables.releases.release import (
    MANIFEST,
    VERSION,
    ReleaseManifest,
    list_releases,
    read_manifest,
)
from cascade_tables.releases.triton_files import files_of

EXTRA = "cascade-synthesis[remote]"


def is_url(repository: str) -> bool:
    """Return whether it is a URL rather than a folder's path."""
    return "://" in repository


class RemoteRepository:
    """A repository that fsspec can reach.

    Args:
        url: of its root.

    Raises:
        ReleaseError: fsspec is not installed, or does not support the URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            from fsspec.core import url_to_fs
        except ImportError as exc:
            raise ReleaseError(
                f"model repository {url} is a URL, which needs fsspec: pip install '{EXTRA}'"
            ) from exc
        try:
            self._files: Any
            self._files, root = url_to_fs(url)
        except (ImportError, ValueError) as exc:
            raise ReleaseError(f"model repository {url}: {exc}") from exc
        self._root = root.rstrip("/")

    def releases(self) -> dict[str, list[int]]:
        """Return the versions by table, as `list_releases`.

        Raises:
            ReleaseError: it cannot be read.
        """
        found: dict[str, list[int]] = {}
        try:
            self._files.invalidate_cache()
            paths = self._files.glob(f"{self._root}/*/*/{MANIFEST}")
        except Exception as exc:  # each kind of file system has errors of its own
            raise self._unreadable(exc) from exc
        for path in paths:
            *_, table, number, _ = path.split("/")
            if VERSION.fullmatch(number):
                found.setdefault(table, []).append(int(number))
        return {table: sorted(found[table]) for table in sorted(found)}

    def manifest(self, table: str, version: int) -> ReleaseManifest:
        """Read a manifest, as `read_manifest`.

        Raises:
            ReleaseError: it is missing, or invalid.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / table / str(version) / MANIFEST
            path.parent.mkdir(parents=True)
            path.write_bytes(self._read(f"{table}/{version}/{MANIFEST}"))
            return read_manifest(Path(folder), table, version)

    def fetch(self, table: str, version: int, folder: Path) -> None:
        """Copy a release into a folder, unless it is there already.

        Raises:
            ReleaseError: a file is missing, or is not what the manifest says.
        """
        manifest = self.manifest(table, version)
        there = folder / table / str(version) / MANIFEST
        if there.exists() and read_manifest(folder, table, version).digest == manifest.digest:
            return
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder))
        try:
            for name, expected in manifest.files.items():
                data = self._read(name)
                found = hashlib.sha256(data).hexdigest()
                if found != expected:
                    raise ReleaseError(
                        f"{self.url}/{name} is damaged or was changed: its SHA-256 is "
                        f"{found[:12]}…, the release expects {expected[:12]}…"
                    )
                _write(staging / name, data)
            name = f"{table}/{version}/{MANIFEST}"
            _write(staging / name, self._read(name))
            parents = {str(Path(name).parent) for name in manifest.files}
            own = str(Path(name).parent)
            # While its files change, the release is absent here.
            shutil.rmtree(folder / own, ignore_errors=True)
            for parent in sorted(parents, key=lambda each: each == own):
                target = folder / parent
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(target, ignore_errors=True)
                os.replace(staging / parent, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def publish(self, folder: Path, table: str, version: int) -> None:
        """Upload a release from a folder, with Triton's files; the manifest last.

        Raises:
            ReleaseError: that version exists already, or it cannot be written.
        """
        if version in self.releases().get(table, []):
            raise ReleaseError(f"{self.url} has {table} version {version}; choose another version")
        last = f"{table}/{version}/{MANIFEST}"
        beside = (name for name in files_of(table, version) if (folder / name).exists())
        for name in (*read_manifest(folder, table, version).files, *beside, last):
            path = f"{self._root}/{name}"
            try:
                self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
                self._files.pipe_file(path, (folder / name).read_bytes())
            except Exception as exc:  # of the store's package, which names no file
                raise ReleaseError(f"{self.url}/{name} cannot be written: {exc}") from exc

    def _read(self, name: str) -> bytes:
        path, url = f"{self._root}/{name}", f"{self.url}/{name}"
        limit = LIMITS[Path(name).name]
        try:
            found = self._files.info(path)
            if found["type"] != "file":
                raise ReleaseError(f"{url} is of type {found['type']!r}; allowed: a file")
            # If the size is unknown in advance, this bounds the read.
            size = found.get("size")
            check_size(url, size or 0, limit)
            data: bytes = self._files.cat_file(path, end=None if size else limit + 1)
            check_size(url, len(data), limit)
        except ReleaseError:
            raise
        except FileNotFoundError as exc:
            raise ReleaseError(f"{self.url}/{name} does not exist") from exc
        except Exception as exc:  # of the store's package, which names no file
            raise ReleaseError(f"{self.url}/{name} cannot be read: {exc}") from exc
        return data

    def _unreadable(self, why: Exception) -> ReleaseError:
        return ReleaseError(f"model repository {self.url} cannot be read: {why}")


def versions_of(repository: str, table: str) -> list[int]:
    """Return the versions of a table in a repository, a folder's path or a URL; empty if it has
    none.

    Raises:
        ReleaseError: it cannot be read.
    """
    if is_url(repository):
        return RemoteRepository(repository).releases().get(table, [])
    folder = Path(repository)
    return list_releases(folder).get(table, []) if folder.is_dir() else []


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
