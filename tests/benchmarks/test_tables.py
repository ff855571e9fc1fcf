"""The benchmarks' tables and their splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cascade_tables import ColumnData, DataError, Frame, infer_schema

from benchmarks.tables import BUNDLED, TableMissing, from_file, named, split
from tests.distill.made_up import payments


def test_a_split_is_the_same_every_time_and_shares_no_row() -> None:
    frame = Frame({"id": ColumnData(np.arange(1000), np.zeros(1000, bool))})
    (train, test), (again, _) = split(frame), split(frame)
    assert (len(train), len(test)) == (800, 200)
    both = np.concatenate([train["id"].values, test["id"].values])
    assert sorted(both.tolist()) == list(range(1000))
    assert train["id"].values.tolist() == again["id"].values.tolist()


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_tables_come_with_their_own_split(name: str) -> None:
    table = named(name)
    assert len(table.train) > len(table.test) > 1000
    assert table.train.columns.keys() == table.test.columns.keys()
    assert table.target in table.train.columns


def test_an_unknown_table_is_told_what_there_is() -> None:
    with pytest.raises(TableMissing, match=r"'adlut'.*adult, credit, shoppers.*--csv"):
        named("adlut")


def test_a_table_that_is_not_bundled_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_DATA", str(tmp_path))
    with pytest.raises(TableMissing, match=rf"{tmp_path}/shoppers.parquet .* CASCADE_DATA"):
        named("shoppers")


def test_a_target_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "payments.csv"
    payments(100, 0).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"payments\.csv has no column 'froud'"):
        from_file(path, None, "froud")


def test_the_row_number_of_vehicle_claim_fraud_stays_out_of_its_split() -> None:
    """A random part of 1, 2, 3, … is no longer contiguous, and still says nothing."""
    try:
        table = named("vehicle_claim_fraud")
    except TableMissing as exc:
        pytest.skip(str(exc))
    schema = infer_schema(table.train, table.overrides, rule=table.rule)
    assert "PolicyNumber" in {dropped.name for dropped in schema.dropped}


def test_of_a_large_table_some_rows_are_taken_and_what_tells_the_target_is_left_out() -> None:
    try:
        table = named("handbook_transactions")
    except TableMissing as exc:
        pytest.skip(str(exc))
    assert (len(table.train), len(table.test)) == (80_000, 20_000)
    schema = infer_schema(table.train, table.overrides, rule=table.rule)
    assert "TX_FRAUD_SCENARIO" not in schema.names
