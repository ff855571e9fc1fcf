"""What fewer rows have than `min_count` is in no file that is kept: a rare name is a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cascade_cli.program import main
from cascade_tables import load_release
from click.testing import CliRunner, Result

from tests.releases import payments

ROWS = 600
# Four rows have it in each column.
NAME = "Lovelace"


def cascade(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def folder(few_trees: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and its release, of a table with the name in columns of every kind that text has."""
    folder = tmp_path_factory.mktemp("rare")
    rng = np.random.default_rng(0)
    rows = payments(ROWS).to_pandas()
    here = np.arange(ROWS) % 150 == 7
    of_few = rng.choice(["gold", "silver"], ROWS).astype(object)
    of_many = np.array([f"shop {rank}" for rank in rng.zipf(1.3, ROWS) % 300], object)
    with_odd = rng.integers(0, 999, ROWS).astype(str).astype(object)
    mixed = np.where(rng.random(ROWS) < 0.5, with_odd, rng.choice(["none", "some"], ROWS))
    differs = np.array([f"{NAME} {row}" for row in range(ROWS)], object)
    for name, values in (("few", of_few), ("many", of_many), ("odd", with_odd), ("mixed", mixed)):
        values[here] = f"Ada {NAME}"
        rows[name] = values
    rows["differs"] = differs
    rows["hardly"] = np.array([f"{NAME} {row // 3}" for row in range(ROWS)], object)
    rows["comment"] = np.where(rng.random(ROWS) < 0.5, rows["hardly"], None)
    table = folder / "payments.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    schema = folder / "schema.yaml"
    schema.write_text("columns: {many: {max_categories: 4}}")
    run = folder / "kept" / "run"
    few = ("--steps", "20", "--threads", "1")
    cascade("fit", table, "--schema", schema, "--out", run, *few)
    cascade("distill", run, "--rows", "1000", *few)
    cascade("evaluate", run, "--train", table, "--samples", "1", "--threads", "1")
    cascade("release", run, "--repository", folder / "kept" / "models", "--accept-memorisation")
    return folder


def test_no_file_of_a_run_or_a_release_has_it(folder: Path) -> None:
    files = [path for path in (folder / "kept").rglob("*") if path.is_file()]
    assert {"codec.json", "release.json", "schema.yaml", "model.onnx"} <= {p.name for p in files}
    assert [path for path in files if NAME.encode() in path.read_bytes()] == []
    # But they have what is frequent, and what folds and is not rare.
    assert any(b"gold" in path.read_bytes() for path in files)
    assert any(b"shop 6" in path.read_bytes() for path in files)


def test_the_columns_are_kept_where_there_is_something_to_learn(folder: Path) -> None:
    schema = load_release(folder / "kept" / "models", "run", 1).codec.schema
    assert set(schema["few"].categories) == {"gold", "silver"}
    assert schema["comment"].categories == ()
    assert {dropped.name for dropped in schema.dropped} == {"differs", "hardly"}
