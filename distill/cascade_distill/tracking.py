"""MLflow logging of training, measurements and releases, if MLFLOW_TRACKING_URI is set.

A run folder corresponds to one MLflow run, whose id it keeps: `fit`, `distill`, `evaluate` and
`release` each add their results to it. MLflow's client is imported only if it is used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade_tables import ReleaseManifest

from cascade_distill.errors import TrackingError
from cascade_distill.runs.run import Run
from cascade_distill.training.early_stopping import HeldOutLosses
from cascade_distill.training.loop import Progress

URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
DEFAULT_EXPERIMENT = "cascade"
# Steps between two logged losses: a server call per step would slow down training.
EVERY = 100
# MLflow's limit for a parameter.
LONGEST = 6000


class Tracker:
    """MLflow logger of one run folder; does nothing if no server is set.

    Args:
        run: the folder.
        step: "fit", "distill", "evaluate" or "release".

    Raises:
        TrackingError: MLflow's client is not installed, or the server cannot be reached.
    """

    def __init__(self, run: Run, step: str) -> None:
        self._run, self._step = run, step
        self._client: Any = None
        self._id = ""
        if os.environ.get(URI):
            self._open()

    def _open(self) -> None:
        uri = os.environ[URI]
        try:
            from mlflow import MlflowClient
        except ImportError as exc:
            raise TrackingError(
                f"{URI} is set, and MLflow's client is not installed: "
                f"pip install 'cascade-synthesis[mlflow]'; or unset {URI}"
            ) from exc
        # Otherwise the client retries an unreachable server for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        self._client = MlflowClient(tracking_uri=uri)
        with _said(uri):
            self._id = self._existing(uri) or self._new(uri)

    def _existing(self, uri: str) -> str:
        """Return the MLflow run that an earlier step began on this server; empty if none."""
        told = self._run.read_json("run.json").get("mlflow", {})
        return str(told["run_id"]) if told.get("uri") == uri else ""

    def _new(self, uri: str) -> str:
        name = os.environ.get(EXPERIMENT, DEFAULT_EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        made = self._client.create_run(experiment, run_name=self._run.name)
        run_id = str(made.info.run_id)
        self._run.update(mlflow={"uri": uri, "run_id": run_id})
        return run_id

    def parameters(self, **nested: Any) -> None:
        """Log the parameters of a step; nested names are joined by dots."""
        if self._client is None:
            return
        from mlflow.entities import Param, RunTag

        params = [Param(f"{self._step}.{key}", text) for key, text in flat(nested).items()]
        with _said(os.environ[URI]):
            known = self._client.get_run(self._id).data.params
            # A parameter can be written only once; a repeated step records its parameters in a tag.
            fresh = [each for each in params if each.key not in known]
            changed = [
                RunTag(each.key, each.value)
                for each in params
                if known.get(each.key, each.value) != each.value
            ]
            self._client.log_batch(self._id, params=fresh, tags=changed)

    def losses(self, progress: Progress | None) -> Progress | None:
        """Wrap a progress so that it also logs to MLflow now and then."""
        return progress if self._client is None else _Losses(self, progress)

    def metrics(self, figures: Mapping[str, float], step: int = 0) -> None:
        """Log figures under the run's name, at the given step."""
        if self._client is None:
            return
        import time

        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        metrics = [Metric(name, float(value), now, step) for name, value in figures.items()]
        with _said(os.environ[URI]):
            self._client.log_batch(self._id, metrics=metrics)

    def released(self, manifest: ReleaseManifest, text: str) -> None:
        """Log a release: its identity, and its manifest as an artefact."""
        if self._client is None:
            return
        with _said(os.environ[URI]):
            for key, value in (
                ("cascade.table", manifest.table),
                ("cascade.version", manifest.version),
                ("cascade.digest", manifest.digest),
                ("cascade.schema_fingerprint", manifest.schema_fingerprint),
            ):
                self._client.set_tag(self._id, key, value)
            folder = f"releases/{manifest.table}/{manifest.version}"
            self._client.log_text(self._id, text, f"{folder}/release.json")

    def artefact(self, path: Path) -> None:
        """Log a file, so that the tracking server keeps a copy of it."""
        if self._client is not None:
            with _said(os.environ[URI]):
                self._client.log_artifact(self._id, str(path))

    def done(self) -> None:
        """Mark the step as finished."""
        if self._client is not None:
            with _said(os.environ[URI]):
                self._client.set_terminated(self._id, "FINISHED")


class _Losses:
    """Logger of a loss every few steps, and of the last one."""

    def __init__(self, tracker: Tracker, inner: Progress | None) -> None:
        self._tracker, self._inner = tracker, inner
        self._next = 0

    def update(self, step: int, steps: int, loss: float) -> None:
        """Log the figures of a training step; see `training.Progress`."""
        if self._inner is not None:
            self._inner.update(step, steps, loss)
        if step >= self._next or step == steps:
            self._next = step + EVERY
            self._tracker.metrics({f"{self._tracker._step}.loss": loss}, step)

    def held_out(self, losses: HeldOutLosses) -> None:
        """Log the held-out rows' loss; see `training.Progress`."""
        if self._inner is not None:
            self._inner.held_out(losses)
        last = losses.evaluations[-1]
        self._tracker.metrics({f"{self._tracker._step}.held_out_loss": last.loss}, last.step)


class _said:  # noqa: N801 -- reads as a word where it is used
    """Context manager that reduces errors of MLflow's client to one sentence."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            why = str(error).partition("\n")[0][:300]
            raise TrackingError(
                f"{URI} is {self._uri}, which cannot be logged to: {why}"
            ) from error


def flat(nested: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Flatten nested values to text, with names joined by dots."""
    out: dict[str, str] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{before}{key}.")
        else:
            out[f"{before}{key}"] = str(value)[:LONGEST]
    return out
