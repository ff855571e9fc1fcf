"""Tables that `benchmarks.sizes` makes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.learning import sizes
from benchmarks.learning.sizes import write


def test_a_wide_table_whose_first_row_has_nulls(tmp_path: Path) -> None:
    write(tmp_path / "table.parquet", 400, 300)
    found = pq.read_table(tmp_path / "table.parquet")
    assert found.shape == (400, 300)
    assert any(column[0].as_py() is None for column in found.columns)
    assert not any(str(each.type) == "null" for each in found.schema)


def test_a_size_that_fails_loses_no_figure_of_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(command: str, source: str, *options: str) -> dict[str, float]:
        if command == "fit":
            run = Path(options[options.index("--out") + 1])
            run.mkdir()
            (run / "run.json").write_text(
                json.dumps({"read": {"seconds": 1.0}, "bound": {"seconds_a_step": 0.5}})
            )
            return {"seconds": 3.0, "peak_mib": 100}
        raise subprocess.CalledProcessError(1, ["python", "-c", "", command, source])

    monkeypatch.setattr(sizes, "measured", measured)
    monkeypatch.setattr("sys.argv", ["sizes", "--tables", "300x4", "200x2"])
    sizes.main()
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    fit = {"seconds": 3.0, "peak_mib": 100, "read_seconds": 1.0, "seconds_a_step": 0.5}
    assert said["tables"] == {"300x4": {"fit": fit}, "200x2": {"fit": fit}}
    assert said["failed"] == dict.fromkeys(("300x4", "200x2"), "distill ended with status 1")
