"""A server whose callers may change releases, repositories that grow, and what both say."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cascade_client import Client

from tests.integration import serving
from tests.integration.serving import Served
from tests.releases import TABLE
from tests.typed import typed


# Callers over the network may, but where the test is of whether they may.
def serve(*options: str) -> AbstractContextManager[Served]:
    return serving.serve("--release-control", *options)


def publish(source: Path, folder: Path, table: str, version: int) -> None:
    """As `cascade release` does: each folder whole, the manifest's last."""
    for name in (f"{table}_student", f"{table}_teacher", table):
        staged = folder / f".{name}-{version}"
        shutil.copytree(source / name / str(version), staged)
        (folder / name).mkdir(exist_ok=True)
        staged.rename(folder / name / str(version))


def damage(folder: Path, version: int) -> Path:
    path = folder / f"{TABLE}_student" / str(version) / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    return path


def command(target: str, *words: str) -> subprocess.CompletedProcess[str]:
    return typed("releases", *words, "--target", target)


def states(client: Client) -> dict[tuple[str, int], str]:
    report = client.releases.list()
    return {(each.table, each.version): str(each.state) for each in report.releases}


def version_of(client: Client, **options: Any) -> int:
    return client.synthesize(TABLE, {"items": 3}, fidelity="fast", **options).provenance.version
