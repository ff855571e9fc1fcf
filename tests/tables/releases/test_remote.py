"""A model repository behind a URL."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from cascade_tables import ReleaseError, list_releases, load_release, write_release
from cascade_tables.releases.remote import RemoteRepository, is_url, versions_of

from tests.releases import TABLE, make_release


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("releases")
    for version in (1, 2):
        make_release(folder, version=version, seed=version)
    return folder


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file":
        yield f"file://{tmp_path}/remote"
        return
    name = uuid4().hex
    yield f"memory://{name}"
    files = fsspec.filesystem("memory")
    if files.exists(f"/{name}"):
        files.rm(f"/{name}", recursive=True)


def files_of(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    files, root = fsspec.core.url_to_fs(url)
    return files, root


def test_what_was_published_is_fetched(url: str, releases: Path, tmp_path: Path) -> None:
    remote = RemoteRepository(url)
    assert remote.releases() == {}
    for version in (1, 2):
        remote.publish(releases, TABLE, version)
    assert remote.releases() == {TABLE: [1, 2]}
    assert versions_of(url, TABLE) == [1, 2]
    cache = tmp_path / "cache"
    remote.fetch(TABLE, 2, cache)
    assert list_releases(cache) == {TABLE: [2]}
    found, expected = load_release(cache, TABLE, 2), load_release(releases, TABLE, 2)
    assert (found.manifest, found.student) == (expected.manifest, expected.student)


def test_a_version_is_published_once(url: str, releases: Path) -> None:
    remote = RemoteRepository(url)
    remote.publish(releases, TABLE, 1)
    with pytest.raises(ReleaseError, match="choose another version"):
        remote.publish(releases, TABLE, 1)


def test_half_a_release_is_none(url: str, releases: Path, tmp_path: Path) -> None:
    """The manifest comes last: who is cut off before has published nothing."""
    files, root = files_of(url)
    name = f"{TABLE}_student/1/model.onnx"
    files.makedirs(f"{root}/{TABLE}_student/1", exist_ok=True)
    files.pipe_file(f"{root}/{name}", (releases / name).read_bytes())
    remote = RemoteRepository(url)
    assert remote.releases() == {}
    with pytest.raises(ReleaseError, match=r"release\.json does not exist"):
        remote.fetch(TABLE, 1, tmp_path)


def test_a_damaged_file_is_named_and_nothing_is_kept(
    url: str, releases: Path, tmp_path: Path
) -> None:
    remote = RemoteRepository(url)
    remote.publish(releases, TABLE, 1)
    files, root = files_of(url)
    files.pipe_file(f"{root}/{TABLE}_teacher/1/model.onnx", b"not a model")
    with pytest.raises(ReleaseError, match=r"_teacher/1/model\.onnx is damaged or was changed"):
        remote.fetch(TABLE, 1, tmp_path / "cache")
    assert list_releases(tmp_path / "cache") == {}
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_is_there_is_not_fetched_again_and_what_has_changed_is(
    url: str, releases: Path, tmp_path: Path
) -> None:
    remote = RemoteRepository(url)
    remote.publish(releases, TABLE, 1)
    remote.fetch(TABLE, 1, tmp_path / "cache")
    path = tmp_path / "cache" / f"{TABLE}_student" / "1" / "model.onnx"
    before = path.stat().st_ino
    remote.fetch(TABLE, 1, tmp_path / "cache")
    assert path.stat().st_ino == before
    # The same version, made anew.
    other = load_release(releases, TABLE, 2)
    folder = tmp_path / "other"
    manifest = load_release(releases, TABLE, 1).manifest
    write_release(folder, manifest, other.codec, other.student, other.teacher)
    files, root = files_of(url)
    files.rm(f"{root}/{TABLE}/1/release.json")
    RemoteRepository(url).publish(folder, TABLE, 1)
    RemoteRepository(url).fetch(TABLE, 1, tmp_path / "cache")
    assert load_release(tmp_path / "cache", TABLE, 1).student == other.student


def test_without_fsspec_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ReleaseError, match=r"pip install 'cascade-synthesis\[remote\]'"):
        RemoteRepository("s3://bucket/models")


def test_a_url_that_nobody_knows_is_named() -> None:
    with pytest.raises(ReleaseError, match=r"model repository nope://x: .*nope"):
        RemoteRepository("nope://x")
    assert is_url("s3://bucket")
    assert not is_url("model_repository")


@pytest.mark.parametrize("kind", ["a named pipe", "a folder"])
def test_what_is_no_file_is_not_read(kind: str, releases: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/remote"
    remote = RemoteRepository(url)
    remote.publish(releases, TABLE, 1)
    path = tmp_path / "remote" / f"{TABLE}_student/1/model.onnx"
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(ReleaseError, match=r"model\.onnx is of type '.*'; allowed: a file"):
        remote.fetch(TABLE, 1, tmp_path / "cache")
    assert list_releases(tmp_path / "cache") == {}


def test_a_file_of_an_absurd_size_is_not_read(releases: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/remote"
    remote = RemoteRepository(url)
    remote.publish(releases, TABLE, 1)
    os.truncate(tmp_path / "remote" / f"{TABLE}_student/1/model.onnx", 2**40)
    with pytest.raises(ReleaseError, match=r"has 1,099,511,627,776 bytes or more; allowed: at mo"):
        remote.fetch(TABLE, 1, tmp_path / "cache")
