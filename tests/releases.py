"""Small real releases for tests: real codec, real graphs, weights nobody trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cascade_distill.export.student_graph import export_student, student_noise_width
from cascade_distill.export.teacher_graph import export_teacher
from cascade_distill.models.neighbours import Target
from cascade_distill.models.student import Student, StudentConfig
from cascade_distill.models.teacher import Denoiser, TeacherConfig
from cascade_distill.training.loop import round_weights
from cascade_tables import (
    Codec,
    ColumnData,
    ColumnOverride,
    Frame,
    ReleaseManifest,
    infer_schema,
    write_release,
)
from cascade_tables.sampling import teacher_noise_width
from numpy.typing import NDArray

TABLE = "payments"


def payments(rows: int = 800, seed: int = 0) -> Frame:
    """A made-up table with a column of every kind, NULLs and a point mass."""
    rng = np.random.default_rng(seed)
    none = np.zeros(rows, bool)
    amount = np.round(rng.gamma(2.0, 40.0, rows), 2)
    amount[rng.random(rows) < 0.3] = 0.0
    channel = np.array(["web", "app", "shop"], object)[rng.integers(0, 3, rows)]
    start = np.datetime64("2026-01-01", "us")
    at = start + rng.integers(0, 30 * 86_400, rows).astype("timedelta64[s]")
    return Frame(
        {
            "amount": ColumnData(amount, none),
            "channel": ColumnData(channel, rng.random(rows) < 0.1),
            "items": ColumnData(rng.integers(1, 9, rows), none, "int8"),
            "at": ColumnData(at.astype("datetime64[us]"), none),
            "member": ColumnData(rng.random(rows) < 0.5, none),
            "fraud": ColumnData(rng.integers(0, 2, rows), none, "int8"),
        }
    )


def every_kind() -> Codec:
    """A made-up table's codec: listed and binned columns of every kind, NULLs, point masses, whole
    numbers and not, categories that fold, with others that answers have in their label's place
    and without, numbers that floats do not tell apart."""
    rng = np.random.default_rng(3)
    n = 3000
    none, some = np.zeros(n, bool), rng.random(n) < 0.2
    mass = np.where(rng.random(n) < 0.4, 0.0, rng.normal(0, 1e3, n))
    big = 2**60 + rng.integers(0, 2**20, n)
    start = np.datetime64("2026-01-01", "us")
    labels = np.array(["a", "b", "c", "rare"], object)[rng.choice(4, n, p=[0.5, 0.3, 0.199, 0.001])]
    frame = Frame(
        {
            "real": ColumnData(np.round(mass, 2), some),
            "real_listed": ColumnData(rng.choice([0.5, 1.25, -3.0], n), none),
            "whole": ColumnData(rng.integers(-5000, 5000, n), some, "int32"),
            "whole_listed": ColumnData(rng.integers(0, 5, n), some, "int8"),
            "big": ColumnData(big, none, "int64"),
            "at": ColumnData(start + rng.integers(0, 10**15, n).astype("timedelta64[us]"), some),
            "flag": ColumnData(rng.random(n) < 0.5, some),
            "label": ColumnData(labels, some),
            "merchant": ColumnData(merchants(rng, n), some),
        }
    )
    return Codec.fit(infer_schema(frame), frame)


def merchants(rng: np.random.Generator, rows: int) -> NDArray[Any]:
    """Some 600 names, each less frequent than the one before: about 270 of 3,000 rows fold."""
    return np.array([f"merchant {rank}" for rank in rng.zipf(1.4, rows) % 600], object)


def make_release(
    repository: Path,
    table: str = TABLE,
    version: int = 1,
    seed: int = 0,
    overrides: Mapping[str, ColumnOverride] | None = None,
) -> Codec:
    """Write a release of `payments` whose networks have random weights."""
    frame = payments()
    codec = Codec.fit(infer_schema(frame, overrides), frame)
    write_untaught(repository, codec, table, version, seed)
    return codec


def write_untaught(
    repository: Path,
    codec: Codec,
    table: str,
    version: int,
    seed: int,
    targets: Sequence[Target] = (),
) -> None:
    """Write a release whose networks have random weights.

    Args:
        repository: to write it to.
        codec: of its table.
        table: its name.
        version: its version.
        seed: of the weights.
        targets: numbers that are told where others lie.
    """
    layout = codec.layout
    torch.manual_seed(seed)
    student = Student(layout, StudentConfig(width=16, head_width=16), targets)
    if student.nearness is not None:
        for parameter in student.nearness.parameters():
            torch.nn.init.normal_(parameter)
    config = TeacherConfig(width=32, hidden=32, blocks=1, fine_width=8)
    teacher = Denoiser(layout, config, targets)
    for model in (student, teacher):
        round_weights(model)
    columns = len(codec.schema.columns)
    manifest = ReleaseManifest(
        table=table,
        version=version,
        created="2026-01-01T00:00:00+00:00",
        files={},
        schema_fingerprint="",
        student={"noise_width": student_noise_width(layout.sizes)},
        teacher={
            "steps": columns,
            "noise_width": teacher_noise_width(layout.sizes, layout.column),
        },
        fidelity={"student": {"shape_err_pct": 1.5}, "teacher": {"shape_err_pct": 0.5}},
        libraries={"torch": torch.__version__},
    )
    write_release(repository, manifest, codec, export_student(student), export_teacher(teacher))
