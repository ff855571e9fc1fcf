"""The software bill of materials that is kept is one, and is that of the pins."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("cyclonedx", reason="pip install cyclonedx-python-lib")

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy import sbom

KEPT = Path(sbom.ROOT) / "deploy" / "sbom.cdx.json"


def test_it_is_cyclonedx() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(KEPT.read_text()) is None


def test_it_is_of_the_pins() -> None:
    pins = sbom.pins((sbom.ROOT / "constraints.txt").read_text())
    found = {
        each["purl"]: each["version"]
        for each in json.loads(KEPT.read_text())["components"]
        if "purl" in each
    }
    expected = {
        f"pkg:pypi/{sbom.canonicalize_name(name)}@{quote(version)}": version
        for name, version in pins.items()
    }
    assert found == expected, "run: make sbom"


def test_what_is_bundled_is_what_lies_here() -> None:
    made = {each.name: each for each in sbom.bill().components}
    kept = {each["name"]: each for each in json.loads(KEPT.read_text())["components"]}
    for _, name, version, licence, _, _ in sbom.BUNDLED:
        (digest,) = kept[name]["hashes"]
        assert digest["content"] == next(iter(made[name].hashes)).content, "run: make sbom"
        assert kept[name]["version"] == version
        assert kept[name]["licenses"] == [{"license": {"id": licence}}]


def test_it_is_the_same_bytes_each_time() -> None:
    assert sbom.written(sbom.bill()) == sbom.written(sbom.bill())


def test_a_server_needs_what_it_imports() -> None:
    scopes = {each["name"]: each["scope"] for each in json.loads(KEPT.read_text())["components"]}
    for name in ("numpy", "grpcio", "protobuf", "onnxruntime", "uvloop", "hpack", "pyyaml"):
        assert scopes[name] == "required"
    assert scopes["pyarrow"] == "optional"
    assert scopes["pytest"] == "excluded"
