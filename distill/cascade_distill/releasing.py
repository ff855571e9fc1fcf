"""Conversion of a run folder to a release in a model repository."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path

from cascade_tables import ReleaseManifest, write_release
from cascade_tables.releases.remote import RemoteRepository, is_url, versions_of
from cascade_tables.releases.triton_files import TritonRuntime, configure
from cascade_tables.sampling import teacher_noise_width

from cascade_distill.errors import LeansOnItsRows, RunIncomplete
from cascade_distill.export.student_graph import student_noise_width
from cascade_distill.fidelity.memorisation import beyond_floor
from cascade_distill.runs.finished import student_graph, teacher_graph
from cascade_distill.runs.run import Run

# Verdicts on memorisation in a manifest.
NOT_MEASURED, WITHIN, ACCEPTED = "not measured", "within the floor", "accepted"
LIBRARIES = ("cascade-synthesis", "torch", "onnx", "onnxruntime", "numpy")


def release_run(
    run: Run,
    repository: Path | str,
    table: str,
    version: int | None = None,
    runtime: TritonRuntime = TritonRuntime.PYTHON,
    accept_memorisation: bool = False,
) -> ReleaseManifest:
    """Write a run's models and figures as a release; return its manifest.

    Args:
        run: a run folder with a finished student.
        repository: the model repository, a folder's path or a URL; created if it does not exist.
        table: the name to serve it under.
        version: None: one more than the highest existing version.
        runtime: the runtime for the student if Triton serves the repository.
        accept_memorisation: release even if its rows are closer to the training rows than held-out
            rows are; the manifest says so, under "memorisation" in `training`.

    Raises:
        LeansOnItsRows: the rows are too close, and that was not accepted.
        RunIncomplete: teacher or student is not finished, was made from other rows or another
            teacher, or was trained after its evaluation.
        ReleaseError: that version exists, or the name is not allowed.
    """
    teacher, student = teacher_graph(run), student_graph(run)
    codec = run.codec()
    layout = codec.layout
    if version is None:
        version = max(versions_of(str(repository), table), default=0) + 1
    about = run.read_json("run.json")
    # The run's id may be public; the server's address may hold a password.
    if tracked := about.pop("mlflow", None):
        about["mlflow_run_id"] = tracked["run_id"]
    fidelity = run.read_json("fidelity.json")
    about["memorisation"] = memorisation(run, fidelity, accept_memorisation)
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
        fidelity=fidelity,
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


def memorisation(
    run: Run, figures: Mapping[str, Mapping[str, float]], accepted: bool
) -> dict[str, str | list[str]]:
    """Return a release's statement about how close its rows are to the training rows.

    Args:
        run: a run folder with a finished student.
        figures: the content of its fidelity.json; empty if it was not evaluated.
        accepted: whether rows that are too close may be released.

    Returns:
        A "verdict": "not measured", "within the floor" or "accepted"; and if the rows are too
        close, "found", one sentence per finding.

    Raises:
        RunIncomplete: the models were trained again after the figures were computed.
        LeansOnItsRows: the rows are too close, and that was not accepted.
    """
    command = f"cascade evaluate {run.folder} --train TABLE"
    measured = run.read_json("run.json").get("measured", {})
    trained = [tier for tier, digest in measured.items() if run.digest(f"{tier}.onnx") != digest]
    if figures and trained:
        raise RunIncomplete(
            f"the {' and '.join(trained)} of {run.folder} was trained since it was evaluated; run "
            f"first: {command}"
        )
    found = beyond_floor(figures)
    if found is None:
        return {"verdict": NOT_MEASURED}
    if not found:
        return {"verdict": WITHIN}
    if not accepted:
        raise LeansOnItsRows(
            f"the rows of {run.folder} lean on those that were learnt from: {'; '.join(found)}. "
            "Fewer steps or more rows to learn from help; cascade evaluate shows the worst copies; "
            "--accept-memorisation releases it as it is, and its manifest says so"
        )
    return {"verdict": ACCEPTED, "found": found}
