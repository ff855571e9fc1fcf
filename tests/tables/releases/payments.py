"""A release of `payments` whose graphs are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cascade_tables import (
    Codec,
    ColumnOverride,
    ReleaseError,
    ReleaseManifest,
    infer_schema,
    load_release,
    write_release,
)

from tests.releases import payments


def model(producer: str) -> bytes:
    """An ONNX model without a graph: its producer's name, the field of number 2."""
    text = producer.encode()
    assert len(text) < 128
    return bytes([2 << 3 | 2, len(text)]) + text


STUDENT, TEACHER = model("the student's graph"), model("the teacher's graph") * 1000


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


def refused(repository: Path, *parts: object, table: str = "payments", version: int = 1) -> None:
    with pytest.raises(ReleaseError) as caught:
        load_release(repository, table, version)
    for part in parts:
        assert str(part) in str(caught.value)
