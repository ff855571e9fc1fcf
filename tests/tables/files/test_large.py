"""Tables that are read some rows at a time: the schema is that of the whole table."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cascade_tables import (
    Codec,
    ColumnOverride,
    DataError,
    Frame,
    Kind,
    find_relations,
    infer_schema,
)
from cascade_tables.categories import foldings
from cascade_tables.files import csv_files, parquet_files, streaming
from cascade_tables.files.deciding_rows import spread_rows
from cascade_tables.files.reading import read_by_schema, read_files
from cascade_tables.files.table import Table, stream_of

ROWS = 3_000
# Of the rows so many are sampled, before those that are taken for what they say.
SAMPLED = 300


def table(seed: int = 0) -> pd.DataFrame:
    """Columns of which one row in three thousand decides what they are."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": np.round(rng.gamma(2.0, 40.0, ROWS), 1),
            "whole_but_one": rng.integers(0, 900, ROWS).astype(float),
            "fives": 5.0 * rng.integers(0, 900, ROWS),
            "few": rng.integers(1, 9, ROWS),
            "nearly_constant": 7,
            "nearly_empty": np.full(ROWS, np.nan),
            "kind": rng.choice(["web", "app", "shop"], ROWS),
            "sent": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 10**6, ROWS), "s"),
            "ok": np.ones(ROWS, bool),
        }
    )
    frame["fives"] = frame["fives"].astype(int)
    frame.loc[1_234, "amount"] = 5000.123
    frame.loc[2_345, "whole_but_one"] = 3.5
    frame.loc[1_111, "fives"] = 7
    frame.loc[2_999, "few"] = 4_000
    frame.loc[1_777, "nearly_constant"] = 8
    frame.loc[[55, 2_055], "nearly_empty"] = [1.5, 2.25]
    frame.loc[2_222, "kind"] = "phone"
    frame.loc[999, "kind"] = None
    frame.loc[2_500, "sent"] = pd.Timestamp("2031-05-06 07:08:09")
    frame.loc[1_500, "ok"] = False
    return frame


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of a few thousand rows count as large, and are read in many chunks."""
    monkeypatch.setattr(streaming, "MOST_CELLS", SAMPLED * len(table().columns))
    monkeypatch.setattr(csv_files, "BLOCK", 1 << 14)
    monkeypatch.setattr(parquet_files, "CHUNK_CELLS", 2_000)


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path, row_group_size=700)
    else:
        frame.to_csv(path, index=False)
    return path


def gathered(read: Table) -> Frame:
    """All rows of a table that is read in chunks."""
    parts = [chunk.to_arrow() for chunk in read.whole.chunks()]
    assert len(parts) > 3
    return Frame.from_arrow(pa.concat_tables(parts))


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_rows_and_schema_are_those_of_the_whole_table(
    tmp_path: Path, suffix: str, request: pytest.FixtureRequest
) -> None:
    path = write(table(), tmp_path / f"table{suffix}")
    whole = read_files([path])
    assert whole.stream is None
    request.getfixturevalue("large")
    read = read_files([path])
    assert SAMPLED <= len(read.frame) < ROWS / 4
    assert read.whole.rows == ROWS
    assert gathered(read).to_rows() == whole.frame.to_rows()
    expected, found = infer_schema(whole.frame), infer_schema(read.frame)
    assert found.names == expected.names
    for name in expected.names:
        # How frequent numbers are is estimated.
        plain = [replace(schema[name], point_masses=()) for schema in (expected, found)]
        assert plain[0] == plain[1]


@pytest.mark.usefixtures("large")
class TestLarge:
    def test_the_sample_is_of_real_rows_in_order(self, tmp_path: Path) -> None:
        read = read_files([write(table(), tmp_path / "table.parquet")])
        rows = [repr(row) for row in gathered(read).to_rows()]
        places = iter(rows)
        assert all(repr(row) in places for row in read.frame.to_rows())

    def test_every_row_can_be_encoded(self, tmp_path: Path) -> None:
        read = read_files([write(table(), tmp_path / "table.csv")])
        codec = Codec.fit(infer_schema(read.frame), read.frame)
        tokens = np.concatenate([codec.encode(chunk) for chunk in read.whole.chunks()])
        rare = codec.decode(tokens, np.random.default_rng(0)).to_rows()
        # One row alone has its kind.
        assert rare[2_222]["kind"] == "(other)"
        assert rare[999]["kind"] is None
        assert rare[2_999]["few"] == 4_000
        assert rare[2_055]["nearly_empty"] == 2.25

    def test_relations_are_found_and_always_hold(self, tmp_path: Path) -> None:
        frame = table()
        frame["fee"] = np.round(np.random.default_rng(1).gamma(2.0, 3.0, ROWS), 1)
        frame["total"] = np.round(frame["amount"] + frame["fee"], 3)
        read = read_files([write(frame, tmp_path / "table.parquet")])
        (relation,) = find_relations(read.frame, infer_schema(read.frame))
        assert set(relation.formula.columns) == {"total", "amount", "fee"}
        assert relation.always

    def test_odd_cells_are_named_wherever_they_are(self, tmp_path: Path) -> None:
        text = table().astype(object)
        text.loc[2_700, "few"] = "?"
        read = read_files([write(text, tmp_path / "table.csv")])
        (odd,) = read.findings.odd
        assert odd.describe() == "1 of 3,000 cells (under .1 %): '?' (line 2,702)"
        assert infer_schema(read.frame)["few"].nullable
        assert sum(chunk["few"].null.sum() for chunk in read.whole.chunks()) == 1

    def test_times_are_whole_seconds_unless_one_is_not(self, tmp_path: Path) -> None:
        frame = table()
        frame["at"] = [f"{row // 60 % 24:02}:{row % 60:02}:07" for row in range(ROWS)]
        read = read_files([write(frame, tmp_path / "table.csv")])
        chunks = [*read.whole.chunks(), read.frame]
        assert {chunk["at"].values.dtype.kind for chunk in chunks} == {"i"}
        frame.loc[2_900, "at"] = "10:00:07.5"
        read = read_files([write(frame, tmp_path / "table.csv")])
        assert {chunk["at"].values.dtype.kind for chunk in read.whole.chunks()} == {"f"}
        assert infer_schema(read.frame)["at"].kind is Kind.CONTINUOUS

    def test_whole_numbers_beyond_64_bits_are_reals_in_every_chunk(self, tmp_path: Path) -> None:
        frame = table()
        frame["big"] = np.random.default_rng(0).integers(0, 500, ROWS).astype(np.uint64)
        frame.loc[2_800, "big"] = np.uint64(2**63 + 2**20)
        read = read_files([write(frame, tmp_path / "table.parquet")])
        assert {chunk["big"].values.dtype.kind for chunk in read.whole.chunks()} == {"f"}
        assert infer_schema(read.frame)["big"].maximum == 2**63 + 2**20

    def test_steps_between_far_ends_of_64_bits(self, tmp_path: Path) -> None:
        frame = table()
        frame["far"] = np.where(np.arange(ROWS) % 2, -(2**62), 2**62 + 6)
        frame.loc[2_400:, "far"] = -(2**62) + 12 * np.arange(600)
        read = read_files([write(frame, tmp_path / "table.parquet")])
        assert infer_schema(read.frame)["far"].step == 2

    def test_of_many_categories_the_frequent_ones_are_kept(self, tmp_path: Path) -> None:
        frame = table()
        rng = np.random.default_rng(3)
        frame["shop"] = [f"s{int(n)}" for n in rng.geometric(0.02, ROWS)]
        path = write(frame, tmp_path / "table.csv")
        column = infer_schema(read_files([path]).frame)["shop"]
        assert column.other == "(other)"
        assert "s1" in column.categories
        wishes = {"shop": ColumnOverride(max_categories=2_000, min_count=1)}
        read = read_files([path], wishes)
        column = infer_schema(read.frame, wishes)["shop"]
        assert set(column.categories) == set(frame["shop"])
        assert column.other is None

    def test_a_column_that_cannot_be_read_is_left_out(self, tmp_path: Path) -> None:
        arrow = pa.Table.from_pandas(table())
        far = pa.array([0] * 2_998 + [10**14, 0], pa.timestamp("s"))
        arrow = arrow.append_column("far", far).append_column("list", pa.array([[1]] * ROWS))
        pq.write_table(arrow, tmp_path / "table.parquet")
        read = read_files([tmp_path / "table.parquet"])
        assert read.findings.left_out.keys() == {"far", "list"}
        assert "far" not in next(iter(read.whole.chunks())).columns

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_several_files_are_one_table(self, tmp_path: Path, suffix: str) -> None:
        frame = table()
        paths = [
            write(frame[:1_000], tmp_path / f"first{suffix}"),
            write(frame[1_000:][list(frame.columns[::-1])], tmp_path / f"second{suffix}"),
        ]
        read = read_files(paths)
        assert read.whole.rows == ROWS
        assert gathered(read)["few"].to_list() == frame["few"].tolist()

    def test_files_of_unlike_types_are_not_one_table(self, tmp_path: Path) -> None:
        frame = table()
        other = frame.assign(few=frame["few"].astype(str))
        paths = [write(frame, tmp_path / "a.parquet"), write(other, tmp_path / "b.parquet")]
        with pytest.raises(DataError, match=r"cannot be one table: 'few' is int64 in .*a.parquet"):
            read_files(paths)

    def test_a_folder_of_parquet_files(self, tmp_path: Path) -> None:
        frame = table()
        folder = tmp_path / "table.parquet"
        folder.mkdir()
        write(frame[:1_000], folder / "1.parquet")
        write(frame[1_000:], folder / "2.parquet")
        read = read_files([folder])
        assert gathered(read)["few"].to_list() == frame["few"].tolist()

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_a_file_is_read_by_a_schema(self, tmp_path: Path, suffix: str) -> None:
        learnt = read_files([write(table(), tmp_path / f"learnt{suffix}")])
        schema = infer_schema(learnt.frame)
        other = table(1).assign(kind="web", fives=list(range(ROWS)), more=1)
        path = write(other, tmp_path / f"other{suffix}")
        read = read_by_schema([path], schema, learnt.findings.forms)
        assert gathered(read).to_arrow().column_names == list(schema.names)
        assert gathered(read)["fives"].to_list() == list(range(ROWS))
        lacking = write(other.drop(columns="few"), tmp_path / f"lacking{suffix}")
        with pytest.raises(DataError, match="lacks 'few' of the columns"):
            read_by_schema([lacking], schema, learnt.findings.forms)

    def test_what_does_not_fit_a_schema_is_counted_in_all_rows(self, tmp_path: Path) -> None:
        learnt = read_files([write(table(), tmp_path / "learnt.csv")])
        other = table(1).astype(object)
        other.loc[[100, 2_800], "few"] = "none of it"
        path = write(other, tmp_path / "other.csv")
        read = read_by_schema([path], infer_schema(learnt.frame), learnt.findings.forms)
        (odd,) = read.findings.odd
        assert odd.describe() == (
            "2 of 3,000 cells (under .1 %): 'none of it' (line 102, line 2,802)"
        )
        other.loc[2_800:, "few"] = "none of it"
        with pytest.raises(DataError, match="column 'few' does not fit what was learnt"):
            read_by_schema([write(other, path)], infer_schema(learnt.frame), learnt.findings.forms)


@pytest.mark.parametrize(("rows", "wanted"), [(10, 3), (3_000, 300), (7, 7), (5, 9)])
def test_rows_are_spread_over_the_table(rows: int, wanted: int) -> None:
    taken = spread_rows(rows, wanted)
    assert len(taken) == min(rows, wanted)
    assert (np.diff(taken) > 0).all()
    parts = taken * len(taken) // rows
    assert parts.tolist() == list(range(len(taken)))
    assert taken.tolist() == spread_rows(rows, wanted).tolist()


def test_a_table_in_memory_is_handed_out_in_parts() -> None:
    frame = Frame.from_pandas(pd.DataFrame({"a": range(150_000)}))
    chunks = list(stream_of(frame).chunks())
    assert [len(chunk) for chunk in chunks] == [65_536, 65_536, 18_928]
    assert [chunk["a"].values[0] for chunk in chunks] == [0, 65_536, 131_072]


IN_SAMPLE = spread_rows(ROWS, SAMPLED * len(table().columns) // (len(table().columns) + 1))
OTHERS = np.setdiff1d(np.arange(ROWS), IN_SAMPLE)
NAMED = {
    # All rows that have it are in the sample, but they are too few.
    "of four": IN_SAMPLE[100:104].tolist(),
    # Hardly one of its rows is in the sample, but they are enough.
    "of five": OTHERS[1000:1005].tolist(),
    # More frequent than any shop.
    "frequent": OTHERS[500:515].tolist(),
}


def with_names(rows: dict[str, list[int]]) -> pd.DataFrame:
    """The table, with names in these rows of a column that has 300 shops besides."""
    frame = table()
    values = np.array([f"shop {row % 300:03}" for row in range(ROWS)], object)
    for name, where in rows.items():
        values[where] = name
    return frame.assign(shop=values)


@pytest.mark.usefixtures("large")
class TestCategoriesAreCountedInAllRows:
    """`min_count` is of the whole table, whatever the sample has."""

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_schema_and_codec_are_those_of_the_whole_table(
        self, tmp_path: Path, suffix: str
    ) -> None:
        frame = with_names(NAMED)
        read = read_files([write(frame, tmp_path / f"table{suffix}")])
        whole = Frame.from_pandas(frame)
        sampled = set(read.frame["shop"].values)
        assert {"of four"} <= sampled
        assert sum(read.frame["shop"].values == "of five") < 5
        schema = infer_schema(read.frame)
        assert schema["shop"] == infer_schema(whole)["shop"]
        assert schema["shop"].categories[0] == "frequent"
        place = schema.names.index("shop")
        folded, expected = (
            Codec.fit(schema, each).columns[place].to_dict()["folded"]
            for each in (read.frame, whole)
        )
        found = dict(zip(folded["categories"], folded["counts"], strict=True))
        assert found == dict(zip(expected["categories"], expected["counts"], strict=True))
        assert found["of five"] == 5
        assert "of four" not in found

    def test_numbers_that_are_to_be_categories_are_counted_too(self, tmp_path: Path) -> None:
        asked = {"few": ColumnOverride(kind=Kind.CATEGORICAL)}
        path = write(table(), tmp_path / "table.parquet")
        counts = Counter(map(str, table()["few"]))
        assert read_files([path], asked).frame["few"].counts == counts
        assert read_files([path]).frame["few"].counts is None

    def test_what_is_told_of_them_is_of_all_rows(self, tmp_path: Path) -> None:
        frame = with_names(NAMED)
        read = read_files([write(frame, tmp_path / "table.parquet")])
        whole = Frame.from_pandas(frame)
        schema = infer_schema(read.frame)
        pairs = zip(foldings(schema, read.frame), foldings(schema, whole), strict=True)
        for found, expected in pairs:
            assert replace(found, share=0, dropped_share=0) == replace(
                expected, share=0, dropped_share=0
            )
            # How many rows are NULL is estimated.
            assert found.share == pytest.approx(expected.share, rel=0.01)
            assert found.dropped_share == pytest.approx(expected.dropped_share, rel=0.01)

    def test_beyond_a_number_the_column_of_most_is_counted_in_the_sample(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streaming, "MOST_COUNTED", 200)
        read = read_files([write(with_names(NAMED), tmp_path / "table.parquet")])
        assert read.frame["shop"].counts is None
        assert read.frame["kind"].counts == Counter(table()["kind"].dropna())
        assert infer_schema(read.frame)["shop"].categories
