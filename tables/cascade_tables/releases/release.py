"""A release on disk: written whole or not at all, and read only if every byte is as it was.

<table>/<version>/          codec.json, release.json
<table>_student/<version>/  model.onnx
<table>_teacher/<version>/  model.onnx
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cascade_tables.codecs.codec import Codec
from cascade_tables.errors import ReleaseError, SchemaError, listing, shown
from cascade_tables.releases.external_data import external_data
from cascade_tables.releases.needs import NAMING, format_of, needs_of, objection
from cascade_tables.releases.reading import read_file
from cascade_tables.releases.wire_format import Malformed

MANIFEST = "release.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# A number that fits every message and runtime.
VERSION = re.compile(r"[1-9][0-9]{0,17}")
# Most passes of the teacher, as requests may specify, and most uniform numbers per row.
MOST_STEPS, MOST_NOISE = 2**16 - 1, 2**24
TOO_DEEP = "it is nested too deeply"


@dataclass(frozen=True)
class ReleaseManifest:
    """Manifest of a release.

    Attributes:
        table, version: its name and number.
        created: ISO 8601, UTC.
        files: SHA-256 in hex of every other file, by path relative to the repository.
        schema_fingerprint: `Schema.fingerprint`.
        student: `noise_width`, uniform numbers per row.
        teacher: `noise_width`, and `steps`, passes for full fidelity.
        epsilon: the differential-privacy budget spent; None: none was.
        training: how it was trained.
        libraries: versions of the libraries that made it.
        fidelity: figures by "student", "teacher" and "floor".
        format: of the manifest.
        needs: capabilities that a server needs; see `needs`. Empty in the first format.
    """

    table: str
    version: int
    created: str
    files: Mapping[str, str]
    schema_fingerprint: str
    student: Mapping[str, int]
    teacher: Mapping[str, int]
    epsilon: float | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    fidelity: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    format: int = 1
    needs: Sequence[str] = ()

    @property
    def digest(self) -> str:
        """Distinguishes it from every other release of its name and number: 16 hexadecimal
        digits.
        """
        files = json.dumps(dict(self.files), sort_keys=True).encode()
        return hashlib.sha256(files).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Release:
    """A verified release, its graphs as bytes: what was hashed is what will run."""

    manifest: ReleaseManifest
    codec: Codec
    student: bytes
    teacher: bytes


def _paths(table: str, version: int) -> dict[str, str]:
    return {
        "codec": f"{table}/{version}/codec.json",
        "student": f"{table}_student/{version}/model.onnx",
        "teacher": f"{table}_teacher/{version}/model.onnx",
    }


def list_releases(repository: Path) -> dict[str, list[int]]:
    """Return the versions by table, in increasing order.

    Raises:
        ReleaseError: there is no such folder.
    """
    if not repository.is_dir():
        raise ReleaseError(f"model repository {repository} is not a folder")
    found: dict[str, list[int]] = {}
    for manifest in repository.glob(f"*/*/{MANIFEST}"):
        number = manifest.parent.name
        if VERSION.fullmatch(number):
            found.setdefault(manifest.parent.parent.name, []).append(int(number))
    return {table: sorted(found[table]) for table in sorted(found)}


def load_release(repository: Path, table: str, version: int) -> Release:
    """Read and verify one release.

    Raises:
        ReleaseError: a file is missing, unreadable, not a regular one inside of the repository, too
            large, or not what the manifest says; a model refers to other files. Names the file,
            what was expected and what was found.
    """
    path = repository / table / str(version) / MANIFEST
    manifest = read_manifest(repository, table, version)
    wanted = _paths(table, version)
    data = {
        what: _verified(repository, name, manifest.files[name]) for what, name in wanted.items()
    }
    for what in ("student", "teacher"):
        _check_model(repository / wanted[what], data[what])
    where = repository / wanted["codec"]
    try:
        codec = Codec.from_dict(json.loads(data["codec"]))
    except (SchemaError, ValueError) as exc:
        raise ReleaseError(f"{where}: {exc}") from exc
    except RecursionError as exc:
        raise ReleaseError(f"{where}: {TOO_DEEP}") from exc
    if codec.schema.fingerprint != manifest.schema_fingerprint:
        raise ReleaseError(
            f"{where}: its schema's fingerprint is {codec.schema.fingerprint[:12]}…, "
            f"but {path} expects {manifest.schema_fingerprint[:12]}…"
        )
    return Release(manifest, codec, data["student"], data["teacher"])


def read_manifest(repository: Path, table: str, version: int) -> ReleaseManifest:
    """Read a release's manifest, without its other files.

    Raises:
        ReleaseError: it is missing, is no manifest, or that of another release.
    """
    path = repository / table / str(version) / MANIFEST
    try:
        content = json.loads(read_file(repository, f"{table}/{version}/{MANIFEST}"))
    except FileNotFoundError as exc:
        known = list_releases(repository).get(table)
        have = f"it has versions {listing(known)}" if known else f"no table {table!r} is there"
        raise ReleaseError(f"{path} does not exist; {have}") from exc
    except ReleaseError:
        raise
    except (OSError, ValueError) as exc:
        raise ReleaseError(f"{path} cannot be read as JSON: {exc}") from exc
    except RecursionError as exc:
        raise ReleaseError(f"{path} cannot be read as JSON: {TOO_DEEP}") from exc
    manifest = _manifest(path, content)
    if (manifest.table, manifest.version) != (table, version):
        raise ReleaseError(
            f"{path} is of {manifest.table!r} version {manifest.version}, "
            f"but lies where {table!r} version {version} should"
        )
    wanted = _paths(table, version)
    if set(manifest.files) != set(wanted.values()):
        raise ReleaseError(
            f"{path} lists {listing(sorted(manifest.files))}; "
            f"expected {listing(sorted(wanted.values()))}"
        )
    return manifest


def _manifest(path: Path, content: Any) -> ReleaseManifest:
    if not isinstance(content, dict):
        raise ReleaseError(f"{path} is {shown(content)}; allowed: a release manifest, a mapping")
    found = content.get("format")
    why = objection(found, content.get("needs"))
    if why is not None:
        raise ReleaseError(f"{path}: format is {shown(found)}{why}")
    if "needs" in content and found not in NAMING:
        raise ReleaseError(f"{path}: manifests of format {found} do not say what they need")
    try:
        manifest = ReleaseManifest(**content)
    except TypeError as exc:
        raise ReleaseError(f"{path} is not a release manifest: {exc}") from exc
    for name, (is_allowed, allowed) in ALLOWED.items():
        value = getattr(manifest, name)
        if not is_allowed(value):
            raise ReleaseError(f"{path}: {name} is {shown(value)}; allowed: {allowed}")
    return manifest


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_budget(value: Any) -> bool:
    return _is_number(value) and 0 <= value < math.inf


def _within(value: Any, **most: int) -> bool:
    """Return whether it maps names to integers from 1 to the maximum of each."""
    return _maps(value, _is_whole, *most) and all(1 <= value[name] <= most[name] for name in most)


def _maps(value: Any, to: Callable[[Any], bool], *keys: str) -> bool:
    """Return whether it is a mapping to such values that includes these keys."""
    return isinstance(value, dict) and all(map(to, value.values())) and value.keys() >= {*keys}


# Check of each manifest field, and its description for messages.
ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "table": (_is_text, "text"),
    "version": (_is_whole, "a whole number"),
    "created": (_is_text, "text"),
    "files": (lambda v: _maps(v, _is_text), "SHA-256 in hex by path"),
    "schema_fingerprint": (_is_text, "text"),
    "student": (
        lambda v: _within(v, noise_width=MOST_NOISE),
        f"whole numbers, among them noise_width from 1 to {MOST_NOISE:,}",
    ),
    "teacher": (
        lambda v: _within(v, noise_width=MOST_NOISE, steps=MOST_STEPS),
        f"whole numbers, among them noise_width from 1 to {MOST_NOISE:,} and steps from 1 to "
        f"{MOST_STEPS:,}",
    ),
    "epsilon": (lambda v: v is None or _is_budget(v), "a number from 0 or null"),
    "training": (lambda v: isinstance(v, dict), "a mapping"),
    "libraries": (lambda v: _maps(v, _is_text), "versions by name"),
    "fidelity": (
        lambda v: _maps(v, lambda figures: _maps(figures, _is_number)),
        "numbers by name, by tier",
    ),
}


def _verified(repository: Path, name: str, expected: str) -> bytes:
    path = repository / name
    try:
        data = read_file(repository, name)
    except OSError as exc:
        raise ReleaseError(f"{path} cannot be read: {exc.strerror}") from exc
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ReleaseError(
            f"{path} is damaged or was changed: its SHA-256 is {found[:12]}…, "
            f"the release expects {expected[:12]}… ({len(data):,} bytes found)"
        )
    return data


def _check_model(path: Path, model: bytes) -> None:
    """Refuse a graph with data outside its file, because only the file is hashed."""
    try:
        found = external_data(model)
    except Malformed as exc:
        raise ReleaseError(f"{path} is not an ONNX model: {exc}") from exc
    if found is not None:
        raise ReleaseError(
            f"{path}: its tensor {shown(found.tensor)} refers to external data, "
            f"{shown(found.location)}; allowed: models that hold all of their tensors"
        )


def write_release(
    repository: Path,
    manifest: ReleaseManifest,
    codec: Codec,
    student: bytes,
    teacher: bytes,
) -> ReleaseManifest:
    """Write a release; fills in `files`, `schema_fingerprint`, `format` and `needs` of the
    manifest.

    Models come first and the manifest's folder last, each by a rename: a reader sees the whole
    release or none, even after a crash.

    Raises:
        ReleaseError: that version exists already, or the name or version is not allowed.
        Malformed: the student is not ONNX.
    """
    table, version = manifest.table, manifest.version
    if not NAME.fullmatch(table) or table.endswith(("_student", "_teacher")):
        raise ReleaseError(
            f"table name {table!r} is not allowed; allowed: letters, digits, '_', '-' and '.', "
            "not ending in _student or _teacher"
        )
    if version < 1:
        raise ReleaseError(f"version {version} is not allowed; allowed: whole numbers from 1")
    paths = _paths(table, version)
    folders = {what: (repository / name).parent for what, name in paths.items()}
    if (folders["codec"] / MANIFEST).exists():
        raise ReleaseError(f"{folders['codec']} exists; choose another version")
    data = {"codec": _json(codec.to_dict()), "student": student, "teacher": teacher}
    needs = needs_of(codec, student)
    filled = ReleaseManifest(
        **{
            **{name: getattr(manifest, name) for name in manifest.__dataclass_fields__},
            "files": {paths[what]: hashlib.sha256(data[what]).hexdigest() for what in paths},
            "schema_fingerprint": codec.schema.fingerprint,
            "format": format_of(needs),
            "needs": needs,
        }
    )
    repository.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".release-", dir=repository))
    try:
        for what, name in paths.items():
            target = staging / what / Path(name).name
            target.parent.mkdir()
            target.write_bytes(data[what])
        (staging / "codec" / MANIFEST).write_bytes(_json(_content(filled), indent=2))
        for what in ("student", "teacher", "codec"):
            folders[what].parent.mkdir(parents=True, exist_ok=True)
            # Models without a manifest, left by an interrupted write, belong to no release.
            shutil.rmtree(folders[what], ignore_errors=True)
            (staging / what).chmod(0o755)
            os.replace(staging / what, folders[what])
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return filled


def _content(manifest: ReleaseManifest) -> dict[str, Any]:
    """Return the content of a manifest's file; older servers refuse fields that they do
    not know.
    """
    content = asdict(manifest)
    if manifest.format not in NAMING:
        del content["needs"]
    return content


def _json(content: Any, indent: int | None = None) -> bytes:
    return (json.dumps(content, indent=indent, sort_keys=False) + "\n").encode()
