"""The files of a `FakeServer`'s jobs are what a server's are, so that a test may read them."""

from __future__ import annotations

import hashlib
import json
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cascade_client.testing import FakeServer
from cascade_jobs.job import CROISSANT, MANIFEST, PROVENANCE
from cascade_jobs.specification import Specification

from tests.jobs.descriptions.standard import faults

PEOPLE = [
    {"age": 30, "city": "Rome", "paid": True, "since": datetime(2020, 5, 1), "sum": 1.5},
    {"age": None, "city": "Oslo", "paid": False, "since": datetime(2021, 5, 1), "sum": None},
]
# What a job is asked for, beside its rows.
JOBS: dict[str, dict[str, Any]] = {
    "plain": {"rows": 250},
    "given": {"rows": 250, "given": {"city": "Oslo", "since": datetime(2021, 5, 1)}},
    "balanced": {"rows": 250, "balance": "city", "shares": {"Rome": 1, "Oslo": 4}},
    "completed": {"conditions": [{"age": 30}, {"city": "Rome"}], "draws": 3},
    "columns": {"rows": 250, "columns": ["city", "age"]},
    "unseeded": {"rows": 250, "seed": None},
}


@pytest.fixture(params=JOBS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """All files of a job."""
    with FakeServer({"people": PEOPLE}).client() as client:
        job = client.submit("people", **{"seed": 1, **JOBS[request.param]})
        job.wait(progress=None).fetch(tmp_path)
    return tmp_path


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
def test_croissant_is_valid_and_loads_the_rows(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    with caplog.at_level(logging.WARNING):
        found = mlcroissant.Dataset(jsonld=folder / CROISSANT)
    assert found.metadata.ctx.issues.report() == ""
    assert caplog.text == ""
    rows = len(pq.read_table(folder / "data"))
    assert len(list(found.records(record_set="rows"))) == rows


def test_provenance_is_valid(folder: Path) -> None:
    assert faults(read(folder, PROVENANCE)) == []


def test_the_manifest_has_all_files_with_their_checksums(folder: Path) -> None:
    found = read(folder, MANIFEST)
    listed = [*found["files"], *found["descriptions"]]
    assert {each["name"] for each in listed} | {MANIFEST} == {
        each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()
    }
    for each in listed:
        data = (folder / each["name"]).read_bytes()
        assert (each["bytes"], each["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    specification = Specification.from_json(json.dumps(found["specification"]))
    assert specification.rows == found["rows"] == len(pq.read_table(folder / "data"))


def test_the_rows_have_the_types_and_the_metadata_of_a_servers(folder: Path) -> None:
    schema = pq.read_schema(folder / "data/part-00000.parquet")
    assert json.loads(schema.metadata[b"cascade"])["synthetic"] is True
    types = {
        "age": pa.int64(),
        "city": pa.string(),
        "paid": pa.bool_(),
        "since": pa.timestamp("us"),
        "sum": pa.float64(),
    }
    assert {field.name: field.type for field in schema} == {
        name: types[name] for name in schema.names
    }
