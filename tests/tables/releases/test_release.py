"""Releases: written whole or not at all, and refused if a byte is not as it was."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cascade_distill.export.student_nearness_graph import NEARNESS as exported
from cascade_distill.models.neighbours import Target, neighbours_of
from cascade_server.engines.native.walk_nearness import NEARNESS as walked
from cascade_tables import (
    Codec,
    ColumnOverride,
    Frame,
    ReleaseError,
    ReleaseManifest,
    infer_schema,
    list_releases,
    load_release,
    write_release,
)
from cascade_tables.releases.needs import KNOWN, NEARNESS

from tests import ledgers
from tests.distill.bills import bills
from tests.releases import payments, write_untaught


def model(producer: str) -> bytes:
    """An ONNX model without a graph: its producer's name, the field of number 2."""
    text = producer.encode()
    assert len(text) < 128
    return bytes([2 << 3 | 2, len(text)]) + text


STUDENT, TEACHER = model("the student's graph"), model("the teacher's graph") * 1000
STEPS = "whole numbers, among them noise_width from 1 to 16,777,216 and steps from 1 to 65,535"
FILES = [
    "payments/1/codec.json",
    "payments_student/1/model.onnx",
    "payments_teacher/1/model.onnx",
]


def fitted(overrides: dict[str, ColumnOverride] | None = None) -> Codec:
    table = payments()
    return Codec.fit(infer_schema(table, overrides), table)


def manifest(table: str = "payments", version: int = 1) -> ReleaseManifest:
    return ReleaseManifest(
        table=table,
        version=version,
        created="2026-01-01T00:00:00+00:00",
        files={},
        schema_fingerprint="",
        student={"noise_width": 7},
        teacher={"noise_width": 9, "steps": 6},
        epsilon=1.5,
        training={"rows": 800},
        libraries={"numpy": np.__version__},
        fidelity={"student": {"shape_err_pct": 1.5}},
    )


def write(repository: Path, table: str = "payments", version: int = 1) -> ReleaseManifest:
    return write_release(repository, manifest(table, version), fitted(), STUDENT, TEACHER)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("pristine")
    write(folder)
    return folder


@pytest.fixture
def repository(pristine: Path, tmp_path: Path) -> Path:
    """A repository with one release, to be damaged."""
    folder = tmp_path / "repository"
    shutil.copytree(pristine, folder)
    return folder


def refused(repository: Path, *parts: object, table: str = "payments", version: int = 1) -> None:
    with pytest.raises(ReleaseError) as caught:
        load_release(repository, table, version)
    for part in parts:
        assert str(part) in str(caught.value)


def edit(repository: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the manifest's content as someone with an editor might."""
    path = repository / "payments/1/release.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


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


class TestDamage:
    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file(self, repository: Path, name: str) -> None:
        (repository / name).unlink()
        refused(repository, repository / name, "cannot be read: No such file or directory")

    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("keep", [0, -1])
    def test_a_truncated_file(self, repository: Path, name: str, keep: int) -> None:
        path = repository / name
        path.write_bytes(path.read_bytes()[:keep])
        size = f"({path.stat().st_size:,} bytes found)"
        refused(repository, path, "is damaged or was changed: its SHA-256 is", "expects", size)

    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("at", [0, -1])
    def test_a_flipped_bit(self, repository: Path, name: str, at: int) -> None:
        path = repository / name
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)
        refused(repository, path, "is damaged or was changed")

    @pytest.mark.parametrize("name", FILES)
    def test_a_manifest_with_another_hash(self, repository: Path, name: str) -> None:
        edit(repository, lambda content: content["files"].update({name: "0" * 64}))
        refused(repository, repository / name, "the release expects 000000000000…")

    def test_a_missing_manifest(self, repository: Path) -> None:
        path = repository / "payments/1/release.json"
        path.unlink()
        refused(repository, path, "does not exist", "no table 'payments' is there")

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"\xff\xfe", b"release", b'{"format": 1'], ids=repr
    )
    def test_a_manifest_that_is_not_json(self, repository: Path, content: bytes) -> None:
        path = repository / "payments/1/release.json"
        path.write_bytes(content)
        refused(repository, path, "cannot be read as JSON")

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ('{"format": 3}', "format is 3; this version reads formats 1, 2"),
            ('{"format": true}', "format is True; this version reads formats 1, 2"),
            ('{"format": [2]}', "format is [2]; this version reads formats 1, 2"),
            ("{}", "format is None; this version reads formats 1, 2"),
            ("[1]", "is [1]; allowed: a release manifest, a mapping"),
            ('{"format": 1, "needs": []}', "manifests of format 1 do not say what they need"),
            ('{"format": 2}', "format is 2; it does not say what the release needs"),
            ('{"format": 2, "needs": "all"}', "format is 2; it does not say what the release"),
            (
                '{"format": 2, "needs": ["relations", "telepathy"]}',
                "format is 2, and the release needs telepathy; this version knows relations, ",
            ),
        ],
    )
    def test_a_manifest_of_another_format(self, repository: Path, content: str, said: str) -> None:
        path = repository / "payments/1/release.json"
        path.write_text(content)
        refused(repository, path, said)

    @pytest.mark.parametrize(
        ("field", "value", "allowed"),
        [
            ("table", 5, "text"),
            ("version", "1", "a whole number"),
            ("version", True, "a whole number"),
            ("created", None, "text"),
            ("files", None, "SHA-256 in hex by path"),
            ("files", FILES, "SHA-256 in hex by path"),
            ("files", dict.fromkeys(FILES, 5), "SHA-256 in hex by path"),
            ("schema_fingerprint", 5, "text"),
            ("student", {}, "whole numbers, among them noise_width"),
            ("student", {"noise_width": "7"}, "whole numbers, among them noise_width"),
            ("teacher", {"noise_width": 9}, STEPS),
            ("teacher", [9, 6], STEPS),
            ("epsilon", "none", "a number from 0 or null"),
            ("epsilon", -1.0, "a number from 0 or null"),
            ("epsilon", float("inf"), "a number from 0 or null"),
            ("epsilon", float("nan"), "a number from 0 or null"),
            ("student", {"noise_width": 0}, "noise_width from 1 to 16,777,216"),
            ("student", {"noise_width": 10**9}, "noise_width from 1 to 16,777,216"),
            ("teacher", {"noise_width": 9, "steps": 0}, STEPS),
            ("teacher", {"noise_width": 9, "steps": -1}, STEPS),
            ("teacher", {"noise_width": 9, "steps": 10**9}, STEPS),
            ("teacher", {"noise_width": 9, "steps": 10**30}, STEPS),
            ("teacher", {"noise_width": 10**12, "steps": 6}, STEPS),
            ("libraries", {"numpy": 2}, "versions by name"),
            ("training", None, "a mapping"),
            ("fidelity", {"student": 1.5}, "numbers by name, by tier"),
            ("fidelity", {"student": {"shape": "bad"}}, "numbers by name, by tier"),
        ],
    )
    def test_a_manifest_whose_fields_are_wrong(
        self, repository: Path, field: str, value: Any, allowed: str
    ) -> None:
        path = edit(repository, lambda content: content.update({field: value}))
        refused(repository, path, f"{field} is ", "; allowed: ", allowed)

    @pytest.mark.parametrize("field", ["table", "files", "teacher"])
    def test_a_manifest_without_a_field(self, repository: Path, field: str) -> None:
        path = edit(repository, lambda content: content.pop(field))
        refused(repository, path, "is not a release manifest", field)

    def test_a_manifest_with_an_unknown_field(self, repository: Path) -> None:
        path = edit(repository, lambda content: content.update(colour="red"))
        refused(repository, path, "is not a release manifest", "colour")

    @pytest.mark.parametrize("files", [{}, dict.fromkeys([*FILES, "../../etc/passwd"], "0" * 64)])
    def test_a_manifest_of_other_files(self, repository: Path, files: dict[str, str]) -> None:
        path = edit(repository, lambda content: content.update(files=files))
        refused(repository, path, "lists", "expected payments/1/codec.json, payments_student/1/")

    def test_a_codec_that_does_not_fit_the_fingerprint(self, repository: Path) -> None:
        """Codec and its hash replaced together; the schema is another than was released."""
        codec = repository / "payments/1/codec.json"
        other = fitted({"member": ColumnOverride(drop=True)})
        codec.write_text(json.dumps(other.to_dict()))
        digest = hashlib.sha256(codec.read_bytes()).hexdigest()
        path = edit(repository, lambda content: content["files"].update({FILES[0]: digest}))
        refused(repository, codec, "its schema's fingerprint is", f"but {path} expects")

    @pytest.mark.parametrize("content", [b"{}", b"[]", b"\xff", b"{"])
    def test_a_codec_that_is_none(self, repository: Path, content: bytes) -> None:
        codec = repository / "payments/1/codec.json"
        codec.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        edit(repository, lambda manifest: manifest["files"].update({FILES[0]: digest}))
        refused(repository, codec)


class TestPlace:
    def test_a_release_in_another_versions_folder(self, repository: Path) -> None:
        shutil.copytree(repository / "payments/1", repository / "payments/2")
        said = "is of 'payments' version 1, but lies where 'payments' version 2 should"
        refused(repository, repository / "payments/2/release.json", said, version=2)

    def test_a_release_in_another_tables_folder(self, repository: Path) -> None:
        shutil.copytree(repository / "payments", repository / "refunds")
        said = "is of 'payments' version 1, but lies where 'refunds' version 1 should"
        refused(repository, repository / "refunds/1/release.json", said, table="refunds")

    def test_a_version_that_is_not_there(self, repository: Path) -> None:
        path = repository / "payments/3/release.json"
        refused(repository, path, "does not exist", "it has versions 1", version=3)

    def test_a_table_that_is_not_there(self, repository: Path) -> None:
        refused(repository, "no table 'refunds' is there", table="refunds")

    @pytest.mark.parametrize("kind", ["missing", "file"])
    def test_a_repository_that_is_no_folder(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "repository"
        if kind == "file":
            path.touch()
        with pytest.raises(ReleaseError, match=f"{path} is not a folder"):
            list_releases(path)
        refused(path, path)

    def test_what_is_no_release_is_not_listed(self, repository: Path) -> None:
        shutil.copytree(repository / "payments/1", repository / "payments/latest")
        shutil.copytree(repository / "payments/1", repository / "payments/01")
        (repository / "empty/1").mkdir(parents=True)
        (repository / "notes.txt").touch()
        assert list_releases(repository) == {"payments": [1]}

    def test_an_empty_repository_has_no_releases(self, tmp_path: Path) -> None:
        assert list_releases(tmp_path) == {}


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


class TestNeeds:
    """A server that would draw wrong rows of a release refuses it by name."""

    def written(
        self, folder: Path, codec: Codec, targets: Sequence[Target] = ()
    ) -> ReleaseManifest:
        write_untaught(folder, codec, "table", 1, 3, targets)
        return load_release(folder, "table", 1).manifest

    def test_one_that_needs_nothing_is_as_older_servers_read_it(self, pristine: Path) -> None:
        content = json.loads((pristine / "payments/1/release.json").read_text())
        assert content["format"] == 1
        assert "needs" not in content
        assert load_release(pristine, "payments", 1).manifest.needs == ()

    def test_the_bundled_ones_are_read(self) -> None:
        repository = Path(__file__).parents[3] / "model_repository"
        for table, versions in list_releases(repository).items():
            for version in versions:
                assert set(load_release(repository, table, version).manifest.needs) <= KNOWN.keys()

    def test_relations(self, tmp_path: Path) -> None:
        found = self.written(tmp_path, ledgers.codec())
        assert (found.format, list(found.needs)) == (2, ["relations"])

    def test_rare_categories(self, tmp_path: Path) -> None:
        shop = ["a"] * 60 + ["b"] * 50 + [f"rare {n // 6}" for n in range(60)]
        table = Frame.from_arrow(pa.table({"shop": shop, "member": [True, False] * 85}))
        schema = infer_schema(table, {"shop": ColumnOverride(max_categories=4)})
        found = self.written(tmp_path, Codec.fit(schema, table))
        assert found.format == 2
        assert "folded" in found.needs

    def test_neighbours(self, tmp_path: Path) -> None:
        frame = bills()
        codec = Codec.fit(infer_schema(frame), frame)
        found = self.written(tmp_path, codec, neighbours_of(codec, ((0, (((1, 1),),)),)))
        assert (found.format, list(found.needs)) == (2, ["neighbours"])

    def test_all_say_neighbours_alike(self) -> None:
        assert NEARNESS == exported == walked
