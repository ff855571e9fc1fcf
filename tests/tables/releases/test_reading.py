"""A model repository that others wrote: nothing in it blocks, or leads out of it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path

import pytest
from cascade_tables import ReleaseError, load_release, read_manifest
from cascade_tables.releases import reading
from cascade_tables.releases.reading import LIMITS

from tests.releases import TABLE, make_release

MANIFEST = f"{TABLE}/1/release.json"
CODEC, STUDENT = f"{TABLE}/1/codec.json", f"{TABLE}_student/1/model.onnx"
FILES = (MANIFEST, CODEC, STUDENT, f"{TABLE}_teacher/1/model.onnx")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("pristine")
    make_release(folder)
    return folder


def refused(repository: Path) -> str:
    """Why the release is not loaded."""
    with pytest.raises(ReleaseError) as caught:
        load_release(repository, TABLE, 1)
    return str(caught.value)


@pytest.mark.parametrize("name", FILES)
class TestSpecialFiles:
    """What is no regular file is refused before it is opened."""

    def test_a_named_pipe(self, repository: Path, name: str) -> None:
        path = repository / name
        path.unlink()
        os.mkfifo(path)
        assert refused(repository) == f"{path} is a named pipe; allowed: a regular file"

    def test_a_socket(self, repository: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        path = repository / name
        path.unlink()
        # A socket's path is short.
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
            assert refused(repository) == f"{path} is a socket; allowed: a regular file"

    def test_a_folder(self, repository: Path, name: str) -> None:
        path = repository / name
        path.unlink()
        path.mkdir()
        assert refused(repository) == f"{path} is a folder; allowed: a regular file"

    @pytest.mark.parametrize("target", ["/dev/zero", "/proc/self/environ", "/etc/passwd"])
    def test_a_link_out_of_the_repository(self, repository: Path, name: str, target: str) -> None:
        path = repository / name
        path.unlink()
        path.symlink_to(target)
        said = refused(repository)
        assert said.startswith(f"{path} leads to ")
        assert said.endswith(f"; allowed: files inside of {repository}")

    def test_a_link_to_itself(self, repository: Path, name: str) -> None:
        path = repository / name
        path.unlink()
        path.symlink_to(path)
        assert refused(repository).startswith(f"{path} cannot be read")


def test_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that lies in the repository itself, which only an administrator can put there."""
    monkeypatch.setattr(reading, "LIMITS", {"zero": 1})
    with pytest.raises(ReleaseError, match="/dev/zero is a device; allowed: a regular file"):
        reading.read_file(Path("/dev"), "zero")


def test_a_folder_that_is_a_link_out_of_the_repository(repository: Path, tmp_path: Path) -> None:
    (repository / f"{TABLE}_student").rename(tmp_path / "elsewhere")
    (repository / f"{TABLE}_student").symlink_to(tmp_path / "elsewhere")
    assert refused(repository).startswith(f"{repository / STUDENT} leads to ")


def test_links_that_stay_inside_are_followed(repository: Path, tmp_path: Path) -> None:
    """Volumes of Kubernetes show their files as links to a folder beside them."""
    (repository / TABLE / "1").rename(repository / "..data")
    (repository / TABLE / "1").symlink_to("../..data")
    (tmp_path / "link").symlink_to(repository)
    assert load_release(tmp_path / "link", TABLE, 1).manifest.version == 1


@pytest.mark.parametrize(
    ("name", "size", "limit"),
    [
        (MANIFEST, LIMITS["release.json"] + 1, LIMITS["release.json"]),
        (CODEC, 2**33, LIMITS["codec.json"]),
        (STUDENT, 2**40, LIMITS["model.onnx"]),
    ],
)
def test_a_file_of_an_absurd_size(repository: Path, name: str, size: int, limit: int) -> None:
    """Of which nothing is read: it has holes that take no space on the disk."""
    path = repository / name
    os.truncate(path, size)
    said = f"{path} has {size:,} bytes or more; allowed: at most {limit:,}"
    assert refused(repository) == said


@pytest.mark.parametrize("bomb", ["[" * 100_000, '{"a":' * 100_000], ids=["lists", "mappings"])
class TestDeepJson:
    """JSON that is nested beyond what can be read is refused as any other that is wrong."""

    def test_a_manifest(self, repository: Path, bomb: str) -> None:
        path = repository / MANIFEST
        path.write_text(bomb)
        with pytest.raises(ReleaseError) as caught:
            read_manifest(repository, TABLE, 1)
        said = f"{path} cannot be read as JSON: it is nested too deeply"
        assert str(caught.value) == said

    def test_a_codec(self, repository: Path, bomb: str) -> None:
        path = repository / CODEC
        path.write_text(bomb)
        content = json.loads((repository / MANIFEST).read_text())
        content["files"][CODEC] = hashlib.sha256(bomb.encode()).hexdigest()
        (repository / MANIFEST).write_text(json.dumps(content))
        assert refused(repository) == f"{path}: it is nested too deeply"
