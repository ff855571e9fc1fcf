"""The bundled tables have the schemas that their releases were made with."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from cascade_tables import RareRule, infer_schema
from cascade_tables.files.reading import read_files

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("table", ["adult", "credit"])
def test_from_parquet(table: str) -> None:
    read = read_files([ROOT / "examples" / table / "train.parquet"])
    # The releases were made when categories of few rows were kept.
    rule = RareRule(min_count=1)
    schema = infer_schema(read.frame, read.overrides, read.findings.left_out, rule)
    release = ROOT / "model_repository" / table / "1" / "release.json"
    assert schema.fingerprint == json.loads(release.read_text())["schema_fingerprint"]
    assert read.findings.describe() == ""


@pytest.mark.parametrize("table", ["adult", "credit"])
def test_from_csv(table: str, tmp_path: Path) -> None:
    """A table is the same from a file of text, where that file says what its columns are."""
    arrow = pq.read_table(ROOT / "examples" / table / "train.parquet")
    path = tmp_path / "train.csv"
    pyarrow.csv.write_csv(arrow, path)
    read = read_files([path])
    codes = {"sex", "education", "marriage"} if table == "credit" else set()
    for name in set(arrow.column_names) - codes:
        assert read.frame[name].to_list() == arrow[name].to_pylist()
    assert read.findings.describe() == ""
