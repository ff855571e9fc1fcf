"""ONNX Runtime counts nothing where Cascade runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# With telemetry it has made a file by the end of these.
PROGRAMS = {
    "serve": "from cascade_server.engines.runtime import Runtime\n",
    "distill": "from cascade_distill.runtime import ort\n",
}
RUN = """
import sys
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
"""


def made(home: Path, program: str) -> list[Path]:
    """What a program leaves in a home folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    model = max(ROOT.glob("model_repository/adult_student/*/model.onnx"))
    subprocess.run(
        [sys.executable, "-c", program + RUN, model],
        env={**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )
    return list(home.rglob("*onnxruntime*"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_leaves_nothing_in_the_home_folder(name: str, tmp_path: Path) -> None:
    by_itself, ours = tmp_path / "by_itself", tmp_path / "ours"
    by_itself.mkdir()
    ours.mkdir()
    if not made(by_itself, ""):
        pytest.skip("this ONNX Runtime has no telemetry")
    assert made(ours, PROGRAMS[name]) == []
