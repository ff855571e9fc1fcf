"""What a real MLflow has been told, by what its REST API says."""

from __future__ import annotations

import json
import sys
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cascade_cli.program import main
from cascade_distill.tracking import flat
from cascade_tables import read_manifest
from click.testing import CliRunner, Result

from tests.distill.mlflow_server import mlflow_server
from tests.releases import payments


def cascade(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "payments.csv"
    payments(400).to_pandas().to_csv(path, index=False)
    return path


def asked(url: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{url}/api/2.0/mlflow/{path}", data, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


@pytest.mark.usefixtures("few_trees")
def test_a_release_from_its_table_on(
    server: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "fraud")
    run, repository = tmp_path / "payments", tmp_path / "models"
    with warnings.catch_warnings():
        # MLflow's own, of what it imports.
        warnings.simplefilter("ignore")
        for words in (
            ("fit", table, "--out", run, "--steps", "20", "--threads", "1"),
            ("distill", run, "--steps", "20", "--rows", "1000", "--threads", "1"),
            (
                "evaluate",
                run,
                "--train",
                table,
                "--test",
                table,
                "--samples",
                "1",
                "--threads",
                "1",
            ),
            ("release", run, "--table", "payments", "--repository", repository),
        ):
            done = cascade(*words)
            assert done.exit_code == 0, done.output
    (experiment,) = asked(server, "experiments/get-by-name?experiment_name=fraud").values()
    body = {"experiment_ids": [experiment["experiment_id"]]}
    (found,) = asked(server, "runs/search", body)["runs"]
    assert found["info"]["run_name"] == "payments"
    assert found["info"]["status"] == "FINISHED"
    params = {each["key"]: each["value"] for each in found["data"]["params"]}
    assert params["fit.train.steps"] == "20"
    assert params["fit.table"] == "payments.csv"
    assert params["fit.rows"] == "400"
    assert params["distill.rows"] == "1000"
    metrics = {each["key"]: each["value"] for each in found["data"]["metrics"]}
    figures = json.loads((run / "fidelity.json").read_text())
    assert metrics["student.trend_err_pct"] == figures["student"]["trend_err_pct"]
    assert metrics["floor.xgb_auc"] == figures["floor"]["xgb_auc"]
    assert metrics["fit.loss"] > 0
    assert metrics["fit.held_out_loss"] > 0
    assert metrics["distill.loss"] > 0
    tags = {each["key"]: each["value"] for each in found["data"]["tags"]}
    manifest = read_manifest(repository, "payments", 1)
    assert tags["cascade.version"] == "1"
    assert tags["cascade.digest"] == manifest.digest
    run_id = found["info"]["run_id"]
    listed = asked(server, f"artifacts/list?run_id={run_id}")["files"]
    assert {"codec.json", "fidelity.json", "releases"} <= {each["path"] for each in listed}
    path = f"{found['info']['experiment_id']}/{run_id}/artifacts/releases/payments/1/release.json"
    url = f"{server}/api/2.0/mlflow-artifacts/artifacts/{path}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        logged = json.loads(answer.read())
    assert logged["files"] == dict(manifest.files)
    # And the release says which run it is of, without the server's address.
    assert manifest.training["mlflow_run_id"] == run_id
    assert "mlflow" not in manifest.training


def test_a_server_that_is_not_there_is_named(
    server: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = cascade("fit", table, "--out", tmp_path / "run", "--steps", "1")
    assert done.exit_code == 1
    assert "MLFLOW_TRACKING_URI is http://127.0.0.1:9, which cannot be logged to" in done.output


def test_without_the_client_it_is_said_how_to_get_it(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    done = cascade("fit", table, "--out", tmp_path / "run", "--steps", "1")
    assert done.exit_code == 1
    assert "pip install 'cascade-synthesis[mlflow]'" in done.output


def test_nested_settings_are_flat() -> None:
    nested = {"train": {"steps": 3, "seed": {"of": 1}}, "rows": 5}
    assert flat(nested) == {"train.steps": "3", "train.seed.of": "1", "rows": "5"}
