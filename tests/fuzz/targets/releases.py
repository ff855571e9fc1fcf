"""Releases on a disk, as whoever may write to a model repository can leave them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.target import Target
from tests.fuzz.targets.documents import JSON_WORDS, MEMORY
from tests.fuzz.targets.made import TINY as TABLE
from tests.fuzz.targets.made import repository

ONNX_WORDS = (
    b"weight_in_0", b"bias_in_0", b"weight_out_0", b"bias_out_0", b"embedding_0", b"barred_0",
    b"_half", b"_values", b"_at", b"_shape", b"_blocks", b"_which", b"location", b"nearness",
    b"\x70\x01", b"\x08\x07", b"\x10\x01", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
)  # fmt: skip


@dataclass
class Copied:
    """A release in a folder of its own, of which a file is replaced and vouched for."""

    folder: Path
    manifest: dict[str, Any]

    def put(self, name: str, data: bytes, change: Callable[[dict[str, Any]], None]) -> None:
        (self.folder / name).write_bytes(data)
        manifest = json.loads(json.dumps(self.manifest))
        manifest["files"][name] = hashlib.sha256(data).hexdigest()
        change(manifest)
        (self.folder / TABLE / "1" / "release.json").write_text(json.dumps(manifest))


def _copied(run: Callable[[Copied, bytes], None]) -> Callable[[], Callable[[bytes], None]]:
    def opened() -> Callable[[bytes], None]:
        kept = tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY)
        folder = Path(kept.name)
        for each in (TABLE, f"{TABLE}_student", f"{TABLE}_teacher"):
            shutil.copytree(repository() / each / "1", folder / each / "1")
        text = (folder / TABLE / "1" / "release.json").read_text()
        copied = Copied(folder, json.loads(text))

        def with_release(data: bytes) -> None:
            assert kept.name
            run(copied, data)

        return with_release

    return opened


def _load(folder: Path) -> Any:
    from cascade_tables import ReleaseError, load_release

    try:
        return load_release(folder, TABLE, 1)
    except ReleaseError:
        return None


def _manifest(copied: Copied, data: bytes) -> None:
    (copied.folder / TABLE / "1" / "release.json").write_bytes(data)
    from cascade_server.releases.found import Folder

    Folder(copied.folder).look()
    _load(copied.folder)


def _codec(copied: Copied, data: bytes) -> None:
    """A codec that its manifest vouches for, and rows that are asked of it."""

    def believe(manifest: dict[str, Any]) -> None:
        # The fingerprint is of what was read, so that more than the schema is looked at.
        from cascade_tables import Schema

        try:
            schema = Schema.from_dict(json.loads(data)["schema"])
            manifest["schema_fingerprint"] = schema.fingerprint
        except Exception:
            return

    copied.put(f"{TABLE}/1/codec.json", data, believe)
    release = _load(copied.folder)
    if release is not None:
        _use(release.codec)


def _use(codec: Any) -> None:
    """What a server asks of a codec that it has taken."""
    import numpy as np
    from cascade_tables import CascadeTablesError

    sizes = codec.layout.sizes
    if len(sizes) > 1000 or max(sizes, default=0) > 10**6:
        return
    rng = np.random.default_rng(0)
    tokens = (rng.random((3, len(sizes))) * np.array(sizes)).astype(np.int32)
    frame = codec.decode(tokens, rng)
    try:
        codec.encode(frame)
        codec.encode_partial({name: [None] for name in codec.schema.names}, 1)
        codec.encode_partial({name: ["web"] for name in codec.schema.names}, 1)
    except CascadeTablesError:
        pass
    assert codec.compiled is None or codec.compiled.encode


def _graph(copied: Copied, data: bytes) -> None:
    """A student whose manifest vouches for it, as far as this project reads it itself. ONNX Runtime
    is not asked: what it does with a graph is its own."""
    copied.put(f"{TABLE}_student/1/model.onnx", data, lambda _: None)
    release = _load(copied.folder)
    if release is not None:
        _walk(release)


def _walk(release: Any) -> None:
    import numpy as np
    from cascade_server.engines.native.library import load_library
    from cascade_server.engines.native.walk import StudentWalk
    from cascade_server.engines.native.walk_weights import NotThisStudent, read_walk_weights

    sizes = release.codec.layout.sizes
    try:
        weights = read_walk_weights(release.student, sizes)
    except NotThisStudent:
        return
    library = load_library()
    if isinstance(library, str):
        return
    walk = StudentWalk(library, weights)
    rng = np.random.default_rng(0)
    shape = 4, len(sizes)
    tokens = (rng.random(shape) * np.array(sizes)).astype(np.int32)
    noise = rng.random((4, sum(sizes) + len(sizes)), np.float32)
    drawn = walk(tokens, rng.random(shape) < 0.5, noise)
    assert ((drawn >= 0) & (drawn < np.array(sizes))).all(), "a token that its slot has not"


def _read_seed(name: str) -> bytes:
    return (repository() / name).read_bytes()


def _codec_words() -> tuple[bytes, ...]:
    return (*JSON_WORDS, b"columns", b"kind", b"tokens", b"edges", b"0.0", b"-1", b"1e308")


TARGETS = (
    Target("manifest", "release.json", _copied(_manifest),
           lambda: [re.sub(rb"\s+", b" ", _read_seed(f"{TABLE}/1/release.json"))],
           (*JSON_WORDS, b'"needs": ', b'"files": ', b"noise_width", b"../", b"codec.json"),
           ("cascade_tables.releases", "cascade_server.releases"), 8192),
    Target("codec", "codec.json: a release's schema, its columns' tokens, and rows of them",
           _copied(_codec), lambda: [_read_seed(f"{TABLE}/1/codec.json")], _codec_words(),
           ("cascade_tables.codecs", "cascade_tables.schema", "cascade_tables.relation",
            "cascade_tables.column_fields"), 16_384, native=True),
    Target("graph", "the student's graph, and the compiled walk through it", _copied(_graph),
           lambda: [_read_seed(f"{TABLE}_student/1/model.onnx")], ONNX_WORDS,
           ("cascade_tables.releases", "cascade_server.engines.native"), 32_768, native=True),
)  # fmt: skip
