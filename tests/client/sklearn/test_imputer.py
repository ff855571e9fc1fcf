"""`CascadeImputer` on frames as people have them, with a server and with a table of its own."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

pytest.importorskip("sklearn")
from cascade_client import InvalidRequest, NotFound
from cascade_client.sklearn import CascadeImputer
from cascade_client.testing import FakeLearner, FakeServer
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from tests.client.counting import Compared, compared

ROWS = [
    {"age": 30 + row, "city": ("Rome", "Oslo")[row % 2], "flag": row % 3 == 0} for row in range(9)
]
FRAME = pd.DataFrame(
    {
        "age": pd.array([25, None, 61], "Int64"),
        "city": pd.Categorical(["Oslo", None, "Rome"]),
        "flag": [True, None, False],
        "note": ["a", None, "c"],
    },
    index=list("xyz"),
)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer({"people": ROWS, "cars": [{"doors": 4}]})


class TestServer:
    """A table of a server."""

    def test_a_frame_comes_back_as_it_was_without_holes(self, server: FakeServer) -> None:
        out = CascadeImputer(server.client, "people", random_state=0).fit_transform(FRAME)
        assert out.index.equals(FRAME.index)
        assert out.dtypes["age"] == "Int64"
        assert not out.isna().any().any()
        assert list(out["note"]) == ["a", "a", "c"]  # the table has it not: the most frequent

    def test_the_table_is_found_by_its_columns(self, server: FakeServer) -> None:
        CascadeImputer(server.client).fit_transform(FRAME)
        assert {asked.table for asked in server.asked} == {"people"}

    def test_an_array_has_the_tables_columns(self) -> None:
        server = FakeServer({"points": [{"x": 1.5, "y": 2.5}]})
        X = np.array([[1, np.nan], [np.nan, 4]], np.float32)
        out = CascadeImputer(server.client, "points").fit_transform(X)
        assert out.dtype == np.float32
        assert out.tolist() == [[1, 2.5], [1.5, 4]]
        with pytest.raises(ValueError, match="X has 3 columns without names, and the table has 2"):
            CascadeImputer(server.client, "points").fit(np.ones((2, 3)))

    def test_the_mean_of_draws(self, server: FakeServer) -> None:
        imputer = CascadeImputer(server.client, "people", draws=4, random_state=0)
        out = imputer.fit_transform(FRAME[["age", "city"]])
        (asked,) = server.asked
        assert asked.draws == 4
        assert out["age"].iloc[0] == 25
        assert out["age"].notna().all()

    def test_equal_states_give_equal_rows(self, server: FakeServer) -> None:
        imputer = CascadeImputer(server.client, "people", random_state=3).fit(FRAME)
        assert imputer.transform(FRAME).equals(imputer.transform(FRAME))

    def test_no_such_table(self, server: FakeServer) -> None:
        with pytest.raises(NotFound, match="unknown table 'dogs'"):
            CascadeImputer(server.client, "dogs").fit(FRAME)
        with pytest.raises(InvalidRequest, match="no column of table 'cars'"):
            CascadeImputer(server.client, "cars").fit_transform(FRAME)


class TestTypical:
    """What stands for any value of a column."""

    def test_the_most_frequent_and_of_several_the_first(self, server: FakeServer) -> None:
        frame = pd.DataFrame({"note": list("bcabca")}).assign(age=1)
        imputer = CascadeImputer(server.client, "people").fit(frame)
        assert imputer.typical_ == {"note": "b", "age": 1}

    @pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
    def test_a_date_time_with_a_zone(self, server: FakeServer, zone: str) -> None:
        moment = pd.Timestamp("2026-01-01 12:00", tz=zone)
        table = pa.table({"at": pa.array([moment, None], pa.timestamp("us", zone)), "age": [1, 2]})
        for frame in (
            table,
            pl.from_arrow(table),
            table.to_pandas(types_mapper=pd.ArrowDtype),
            pd.DataFrame({"at": pd.Series([moment, None], dtype=object), "age": [1, 2]}),
        ):
            out = CascadeImputer(server.client, "people").fit_transform(frame)
            values = out["at"].to_pylist() if isinstance(out, pa.Table) else out["at"].to_list()
            assert values == [moment, moment]

    def test_of_many_values_each_is_looked_at_once(self, server: FakeServer) -> None:
        frame = pd.DataFrame({"note": pd.Series(compared("v", 300), dtype=object)})
        assert CascadeImputer(server.client, "people").fit(frame).typical_ == {"note": "v0"}
        assert Compared.times < 10 * 300


class TestOwnTable:
    """A table that is learnt of the rows of `fit`."""

    def test_what_is_learnt_goes_along(self) -> None:
        imputer = CascadeImputer(learner=FakeLearner(), random_state=0).fit(FRAME)
        again = pickle.loads(pickle.dumps(imputer))
        assert again.transform(FRAME).equals(imputer.transform(FRAME))
        assert not hasattr(clone(imputer), "learnt_")

    def test_in_a_pipeline(self) -> None:
        X = np.array([[1.0, np.nan], [2.0, 1.0], [np.nan, 3.0], [4.0, 2.0]])
        pipeline = make_pipeline(
            CascadeImputer(learner=FakeLearner(), random_state=0), DecisionTreeClassifier()
        )
        assert len(pipeline.fit(X, [0, 1, 0, 1]).predict(X)) == 4

    def test_polars(self) -> None:
        frame = pl.DataFrame({"age": [1, None, 3], "city": ["a", "b", None]})
        out = CascadeImputer(learner=FakeLearner(), random_state=0).fit_transform(frame)
        assert out.schema == frame.schema
        assert out.null_count().sum_horizontal().item() == 0

    def test_names_that_are_no_strings(self) -> None:
        frame = pd.DataFrame({0: [1.0, None], 1: ["a", None]})
        out = CascadeImputer(learner=FakeLearner(), random_state=0).fit_transform(frame)
        assert list(out.columns) == [0, 1]
        assert out.notna().all().all()

    def test_a_column_of_dates(self) -> None:
        frame = pd.DataFrame({"at": pd.to_datetime(["2026-01-01", None]), "n": [1.0, 2.0]})
        out = CascadeImputer(learner=FakeLearner(), random_state=0).fit_transform(frame)
        assert out.dtypes["at"].kind == "M"
        assert out["at"].notna().all()

    def test_no_rows_to_transform(self) -> None:
        imputer = CascadeImputer(learner=FakeLearner(), random_state=0).fit(FRAME)
        assert len(imputer.transform(FRAME.head(0))) == 0

    @pytest.mark.parametrize(
        ("frame", "said"),
        [
            (FRAME.head(0), "minimum of 1 is required"),
            (FRAME[[]], "minimum of 1 is required"),
            (pd.DataFrame({"a": [None, np.nan]}), "column 'a' has no value to learn from"),
            (pd.DataFrame({"a": [1, "x"]}), "column that mixes types"),
        ],
    )
    def test_what_cannot_be_learnt(self, frame: Any, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            CascadeImputer(learner=FakeLearner()).fit(frame)


def test_the_sdk_imports_no_scikit_learn() -> None:
    """Nor torch, nor what distils, where estimators are imported."""
    program = (
        "import sys, cascade_client; assert 'sklearn' not in sys.modules\n"
        "import cascade_client.sklearn\n"
        "assert not {'torch', 'cascade_distill', 'cascade_server', 'imblearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
