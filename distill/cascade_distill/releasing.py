"""From a run folder to a release in a model repository."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path

from cascade_tables import ReleaseManifest, list_releases, write_release
from cascade_tables.sampling import teacher_noise_width
from cascade_tables.triton_files import TritonRuntime, configure

from cascade_distill.export_student import student_noise_width
from cascade_distill.run import Run

LIBRARIES = ("cascade-synthesis", "torch", "onnx", "onnxruntime", "numpy")


def release_run(
    run: Run,
    repository: Path,
    table: str,
    version: int | None = None,
    runtime: TritonRuntime = TritonRuntime.PYTHON,
) -> int:
    """Write a run's models and figures as a release; returns its version.

    Args:
        run: a run folder with a finished student.
        repository: the model repository; made if it is not there.
        table: the name to serve it under.
        version: None: one more than the highest there is.
        runtime: what is to run the student where Triton serves the repository.

    Raises:
        RunIncomplete: teacher or student is not finished.
        ReleaseError: that version exists, or the name is not allowed.
    """
    teacher = run.require("teacher.onnx", f"cascade fit TABLE --out {run.folder}")
    student = run.require("student.onnx", f"cascade distill {run.folder}")
    codec = run.codec()
    layout = codec.layout
    if version is None:
        known = list_releases(repository).get(table, []) if repository.is_dir() else []
        version = max(known, default=0) + 1
    about = run.read_json("run.json")
    manifest = ReleaseManifest(
        table=table,
        version=version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        files={},
        schema_fingerprint="",
        student={"noise_width": student_noise_width(layout.sizes)},
        teacher={
            "steps": len(codec.schema.columns),
            "noise_width": teacher_noise_width(layout.sizes, layout.column),
        },
        training=about,
        libraries={name: installed(name) for name in LIBRARIES},
        fidelity=run.read_json("fidelity.json"),
    )
    write_release(repository, manifest, codec, student.read_bytes(), teacher.read_bytes())
    configure(repository, runtime, table)
    return version
