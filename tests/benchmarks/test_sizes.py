"""Tables that `benchmarks.sizes` makes."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.learning.sizes import write


def test_a_wide_table_whose_first_row_has_nulls(tmp_path: Path) -> None:
    write(tmp_path / "table.parquet", 400, 300)
    found = pq.read_table(tmp_path / "table.parquet")
    assert found.shape == (400, 300)
    assert any(column[0].as_py() is None for column in found.columns)
    assert not any(str(each.type) == "null" for each in found.schema)
