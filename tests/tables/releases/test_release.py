"""Releases: written whole or not at all, and never over another."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from cascade_tables import ReleaseError, list_releases, load_release, write_release

from tests.tables.releases.payments import (
    FILES,
    STUDENT,
    TEACHER,
    fitted,
    manifest,
    model,
    refused,
    write,
)


class TestWriteAndLoad:
    def test_what_was_written_is_read(self, tmp_path: Path) -> None:
        codec = fitted()
        written = write_release(tmp_path / "new/folder", manifest(), codec, STUDENT, TEACHER)
        release = load_release(tmp_path / "new/folder", "payments", 1)
        assert release.manifest == written
        assert (release.student, release.teacher) == (STUDENT, TEACHER)
        assert release.codec.to_dict() == codec.to_dict()
        assert written.schema_fingerprint == codec.schema.fingerprint
        assert written == replace(
            manifest(), files=written.files, schema_fingerprint=written.schema_fingerprint
        )

    def test_the_manifest_holds_the_hash_of_every_other_file(self, pristine: Path) -> None:
        files = load_release(pristine, "payments", 1).manifest.files
        found = {str(p.relative_to(pristine)) for p in pristine.rglob("*") if p.is_file()}
        assert set(files) == found - {"payments/1/release.json"} == set(FILES)
        for name, digest in files.items():
            assert hashlib.sha256((pristine / name).read_bytes()).hexdigest() == digest

    def test_others_may_read_what_was_written(self, pristine: Path) -> None:
        folders = [pristine / name for name in FILES]
        assert all(path.parent.stat().st_mode & 0o777 == 0o755 for path in folders)

    def test_versions_and_tables_stand_side_by_side(self, tmp_path: Path) -> None:
        for table, version in [("b", 10), ("a", 2), ("b", 9)]:
            write(tmp_path, table, version)
        assert list_releases(tmp_path) == {"a": [2], "b": [9, 10]}
        assert load_release(tmp_path, "b", 9).manifest.version == 9


class TestRefusedWrites:
    def test_an_existing_version(self, repository: Path) -> None:
        before = (repository / "payments/1/release.json").read_bytes()
        with pytest.raises(ReleaseError, match=r"payments/1 exists; choose another version"):
            write_release(repository, manifest(), fitted(), b"other", b"graphs")
        assert (repository / "payments/1/release.json").read_bytes() == before
        assert load_release(repository, "payments", 1).student == STUDENT

    @pytest.mark.parametrize(
        "name",
        ["", ".hidden", "-x", "../up", "a/b", "a b", "naïve", "x_student", "x_teacher", "a\n"],
    )
    def test_a_name_that_no_folder_should_have(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ReleaseError) as caught:
            write(tmp_path, name)
        assert f"table name {name!r} is not allowed" in str(caught.value)
        assert "allowed: letters, digits, '_', '-' and '.'" in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("version", [0, -1])
    def test_a_version_below_one(self, tmp_path: Path, version: int) -> None:
        with pytest.raises(ReleaseError) as caught:
            write(tmp_path, version=version)
        assert f"version {version} is not allowed; allowed: whole numbers from 1" in str(
            caught.value
        )


class TestCrash:
    @pytest.fixture(params=[1, 2, 3])
    def crashed(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Path:
        """A repository in which a write was interrupted at its first, second or third rename."""
        rename, calls = os.replace, []

        def fail(source: Path, target: Path) -> None:
            calls.append(target)
            if len(calls) == request.param:
                raise KeyboardInterrupt
            rename(source, target)

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path)
        monkeypatch.undo()
        return tmp_path

    def test_it_leaves_no_readable_release(self, crashed: Path) -> None:
        assert list_releases(crashed) == {}
        refused(crashed, "does not exist; no table 'payments' is there")

    def test_it_leaves_no_staging_folder(self, crashed: Path) -> None:
        assert [path.name for path in crashed.iterdir() if path.name.startswith(".")] == []

    def test_a_later_write_succeeds(self, crashed: Path) -> None:
        write_release(crashed, manifest(), fitted(), model("new student"), model("new teacher"))
        release = load_release(crashed, "payments", 1)
        assert (release.student, release.teacher) == (model("new student"), model("new teacher"))

    def test_other_versions_are_untouched(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(source: Path, target: Path) -> None:
            raise OSError("no space left")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="no space left"):
            write(repository, version=2)
        assert list_releases(repository) == {"payments": [1]}
        assert load_release(repository, "payments", 1).teacher == TEACHER
