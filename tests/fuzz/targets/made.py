"""The releases that targets are tried with: small, untaught, of every kind of column.

    python -m tests.fuzz.targets.made FOLDER     writes them; needs torch

They are made by a process of their own, once, so that the processes that fuzz have no torch.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = ("tests/releases.py", "tests/ledgers.py", "tests/fuzz/targets/made.py")
# By name, what it is for.
TABLES = ("payments", "everything", "ledger")
# And one whose files are small enough to be changed byte by byte.
TINY = "tiny"


def repository() -> Path:
    """A model repository that no target changes; it is made where it is not there yet."""
    digest = hashlib.sha256()
    for source in SOURCES:
        digest.update((ROOT / source).read_bytes())
    folder = ROOT / "runs" / "fuzz" / f"repository-{digest.hexdigest()[:12]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as staging:
            made = Path(staging) / "made"
            subprocess.run([sys.executable, "-m", __name__, str(made)], cwd=ROOT, check=True)
            try:
                made.rename(folder)
            except OSError:
                assert folder.exists(), "another process has made it meanwhile"
    return folder


def make(folder: Path) -> None:
    """Write the releases."""
    from cascade_tables import Codec, infer_schema

    from tests import ledgers
    from tests.releases import every_kind, make_release, payments, write_untaught

    make_release(folder, "payments", 1)
    make_release(folder, "payments", 2, seed=1)
    write_untaught(folder, every_kind(), "everything", 1, 0)
    write_untaught(folder, ledgers.codec(), "ledger", 1, 0)
    few = payments(24)
    write_untaught(folder, Codec.fit(infer_schema(few), few), TINY, 1, 0)
    _without_nodes(folder)


def _without_nodes(folder: Path) -> None:
    """Leave of the small release's graphs what this project reads by itself: not their nodes, which
    are most of them."""
    import onnx

    path = folder / TINY / "1" / "release.json"
    manifest = json.loads(path.read_text())
    for name in manifest["files"]:
        model = folder / name
        if model.suffix == ".onnx":
            graph = onnx.load(model)
            del graph.graph.node[:]
            model.write_bytes(graph.SerializeToString())
            manifest["files"][name] = hashlib.sha256(model.read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
