"""Releases of made-up tables, as wide as is asked for: their networks have the sizes of any other
release's and have learnt nothing, which costs as much."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from cascade_tables import (
    Codec,
    ColumnData,
    Frame,
    ReleaseManifest,
    infer_schema,
    list_releases,
    write_release,
)
from cascade_tables.sampling import teacher_noise_width


def made_up(columns: int, rows: int = 2000, seed: int = 0) -> Frame:
    """A table whose columns are categories, whole numbers and others by turns."""
    rng = np.random.default_rng(seed)
    none = np.zeros(rows, bool)
    kinds = (
        lambda: ColumnData(np.array([*"abcdefgh"], object)[rng.integers(0, 8, rows)], none),
        lambda: ColumnData(rng.integers(0, 10_000, rows), none, "int32"),
        lambda: ColumnData(np.round(rng.gamma(2.0, 40.0, rows), 2), none),
    )
    return Frame({f"column_{number}": kinds[number % 3]() for number in range(columns)})


def write_made_up(repository: Path, columns: int) -> str:
    """Write a release of such a table; returns the table's name."""
    # Whoever asks for one table that there is needs no torch.
    import torch
    from cascade_distill.export.student_graph import export_student, student_noise_width
    from cascade_distill.export.teacher_graph import export_teacher
    from cascade_distill.models.student import Student, StudentConfig
    from cascade_distill.models.teacher import Denoiser, TeacherConfig
    from cascade_distill.training.loop import round_weights

    frame, table = made_up(columns), f"made_up_{columns}"
    codec = Codec.fit(infer_schema(frame), frame)
    layout = codec.layout
    torch.manual_seed(0)
    student, teacher = Student(layout, StudentConfig()), Denoiser(layout, TeacherConfig())
    teacher.centre_head()
    for model in (student, teacher):
        round_weights(model)
    manifest = ReleaseManifest(
        table=table,
        version=1,
        created="2026-01-01T00:00:00+00:00",
        files={},
        schema_fingerprint="",
        student={"noise_width": student_noise_width(layout.sizes)},
        teacher={
            "steps": columns,
            "noise_width": teacher_noise_width(layout.sizes, layout.column),
        },
        fidelity={},
        libraries={"torch": torch.__version__},
    )
    write_release(repository, manifest, codec, export_student(student), export_teacher(teacher))
    return table


def only(repository: Path, table: str, folder: Path) -> Path:
    """A repository with the newest release of one table and nothing else.

    Args:
        repository: that has it; a table called ``made_up_N`` is made, with N columns.
        table: its name.
        folder: for the new one, which is called as the table.

    Raises:
        KeyError: there is no such table.
    """
    alone = folder / table
    alone.mkdir(parents=True)
    if table.startswith("made_up_"):
        write_made_up(alone, int(table.removeprefix("made_up_")))
        return alone
    version = str(list_releases(repository)[table][-1])
    for name in (table, f"{table}_student", f"{table}_teacher"):
        (alone / name).mkdir()
        for file in (repository / name).iterdir():
            if file.is_file():
                shutil.copy(file, alone / name / file.name)
        shutil.copytree(repository / name / version, alone / name / version)
    return alone
