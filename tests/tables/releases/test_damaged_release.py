"""A release is refused if a byte is not as it was, or it is not where it belongs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cascade_tables import ColumnOverride, ReleaseError, list_releases

from tests.tables.releases.payments import FILES, fitted, refused

STEPS = "whole numbers, among them noise_width from 1 to 16,777,216 and steps from 1 to 65,535"


def edit(repository: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the manifest's content as someone with an editor might."""
    path = repository / "payments/1/release.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


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
