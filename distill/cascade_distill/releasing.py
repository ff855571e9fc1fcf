"""From a run folder to a release in a model repository."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path

from cascade_tables import ReleaseManifest, write_release
from cascade_tables.releases.remote import RemoteRepository, is_url, versions_of
from cascade_tables.releases.triton_files import TritonRuntime, configure
from cascade_tables.sampling import teacher_noise_width

from cascade_distill.export.student_graph import student_noise_width
from cascade_distill.run import Run

LIBRARIES = ("cascade-synthesis", "torch", "onnx", "onnxruntime", "numpy")


def release_run(
    run: Run,
    repository: Path | str,
    table: str,
    version: int | None = None,
    runtime: TritonRuntime = TritonRuntime.PYTHON,
) -> ReleaseManifest:
    """Write a run's models and figures as a release; returns what it says of itself.

    Args:
        run: a run folder with a finished student.
        repository: the model repository, a folder's path or a URL; made if it is not there.
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
        version = max(versions_of(str(repository), table), default=0) + 1
    about = run.read_json("run.json")
    # Which run it is may be told to everybody; the address of the server may hold a password.
    if tracked := about.pop("mlflow", None):
        about["mlflow_run_id"] = tracked["run_id"]
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
    models = codec, student.read_bytes(), teacher.read_bytes()
    if not is_url(str(repository)):
        manifest = write_release(Path(repository), manifest, *models)
        configure(Path(repository), runtime, table)
        return manifest
    remote = RemoteRepository(str(repository))
    with tempfile.TemporaryDirectory(prefix="cascade-release-") as folder:
        manifest = write_release(Path(folder), manifest, *models)
        configure(Path(folder), runtime, table)
        remote.publish(Path(folder), table, version)
    return manifest
