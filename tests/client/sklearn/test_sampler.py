"""`CascadeSampler` on frames as people have them, with a server and with a table of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

pytest.importorskip("imblearn", reason="imbalanced-learn is not installed")
from cascade_client import InvalidRequest
from cascade_client.sklearn import CascadeSampler
from cascade_client.testing import FakeLearner, FakeServer
from imblearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

ROWS = [{"amount": 10.5, "shop": "a", "fraud": 0}, {"amount": 900.0, "shop": "b", "fraud": 1}]
X = pd.DataFrame({"amount": [1.0, 2.0, 3.0, None], "shop": pd.Categorical(["a", None, "b", "b"])})
Y = pd.Series([0, 0, 0, 1], name="fraud")


class TestServer:
    """A table of a server, of which y is a column."""

    def test_rows_of_the_rare_class_come_after_all_others(self) -> None:
        server = FakeServer({"payments": ROWS})
        sampler = CascadeSampler(server.client, "payments", random_state=0)
        more, y = sampler.fit_resample(X, Y)
        assert y.tolist() == [0, 0, 0, 1, 1, 1]
        assert (y.name, list(more.columns)) == ("fraud", ["amount", "shop"])
        pd.testing.assert_frame_equal(more.head(4), X)
        assert more.dtypes.equals(X.dtypes)
        (asked,) = server.asked
        assert asked.rows == ({"fraud": 1},) * 2
        assert asked.fidelity == "fast"

    def test_y_without_a_name_is_named(self) -> None:
        server = FakeServer({"payments": ROWS})
        sampler = CascadeSampler(server.client, "payments", target="fraud", random_state=0)
        _, y = sampler.fit_resample(X, Y.to_numpy())
        assert isinstance(y, np.ndarray)
        with pytest.raises(InvalidRequest, match="target is 'target', which table 'payments' has"):
            CascadeSampler(server.client, "payments").fit_resample(X, Y.to_numpy())

    @pytest.mark.parametrize("name", [0, 2, ("a", "b")])
    def test_a_name_that_no_column_has(self, name: Any) -> None:
        """It is said before anything is asked; who says which column it is may keep the name."""
        server = FakeServer({"payments": ROWS})
        with pytest.raises(InvalidRequest, match=r"y is named .*: say which one it is, as target="):
            CascadeSampler(server.client, "payments").fit_resample(X, Y.rename(name))
        assert not server.asked
        sampler = CascadeSampler(server.client, "payments", target="fraud", random_state=0)
        _, y = sampler.fit_resample(X, Y.rename(name))
        assert (y.name, y.tolist()) == (name, [0, 0, 0, 1, 1, 1])

    def test_dtypes_that_do_not_hold_what_was_drawn(self) -> None:
        rows = [{**ROWS[0], "items": 7}, {**ROWS[1], "shop": "c", "items": None}]
        server = FakeServer({"payments": rows})
        frame = X.assign(items=[1, 2, 3, 4])
        frame.index = pd.Index(list("abcd"))
        sampler = CascadeSampler(server.client, "payments", random_state=3)
        more, y = sampler.fit_resample(frame, Y)
        assert set(more["shop"].iloc[4:]) <= {"a", "c"}
        assert more["shop"].notna().sum() == 5
        assert more["items"].iloc[:4].tolist() == [1, 2, 3, 4]
        assert y.index.equals(more.index)

    def test_a_strategy(self) -> None:
        server = FakeServer({"payments": ROWS})
        sampler = CascadeSampler(server.client, sampling_strategy={1: 2}, random_state=0)
        _, y = sampler.fit_resample(X, Y)
        assert y.tolist() == [0, 0, 0, 1, 1]


class TestOwnTable:
    """A table that is learnt of X and y."""

    def test_classes_are_text_only_while_they_are_learnt(self) -> None:
        sampler = CascadeSampler(learner=FakeLearner(), random_state=0)
        for y in (Y, Y.astype("float32"), Y.map({0: "no", 1: "yes"}), Y.astype(bool)):
            more, classes = sampler.fit_resample(X, y)
            assert classes.dtype == y.dtype
            assert len(more) == len(classes) == 6

    def test_a_feature_named_as_the_classes_are(self) -> None:
        sampler = CascadeSampler(learner=FakeLearner(), random_state=0)
        more, _ = sampler.fit_resample(X.assign(fraud=[7.0, 8.0, 9.0, 7.0]), Y)
        assert set(more["fraud"]) <= {7, 8, 9}

    @pytest.mark.parametrize("name", [0, 2, ("a", "b"), None])
    def test_classes_of_any_name(self, name: Any) -> None:
        whole = X.set_axis([0, 1], axis=1)
        more, y = CascadeSampler(learner=FakeLearner(), random_state=0).fit_resample(
            whole, Y.rename(name)
        )
        assert (list(more.columns), y.name) == ([0, 1], name)
        assert y.tolist() == [0, 0, 0, 1, 1, 1]

    def test_polars(self) -> None:
        frame = pl.DataFrame({"amount": [1.0, 2.0, 3.0, None], "shop": ["a", None, "b", "b"]})
        kinds = pl.Enum(["no", "yes"])
        classes = pl.Series("fraud", ["no", "no", "no", "yes"], kinds)
        sampler = CascadeSampler(learner=FakeLearner(), random_state=0)
        more, y = sampler.fit_resample(frame, classes)
        assert more.schema == frame.schema
        assert more.head(4).equals(frame)
        assert y.equals(pl.Series("fraud", ["no", "no", "no", "yes", "yes", "yes"], kinds))
        assert y.name == "fraud"
        more, array = sampler.fit_resample(frame, Y.to_numpy())
        assert isinstance(array, np.ndarray)
        assert more.height == len(array) == 6

    def test_a_table_of_arrow(self) -> None:
        table = pa.table({"amount": [1.0, 2.0, 3.0, None]})
        more, y = CascadeSampler(learner=FakeLearner(), random_state=0).fit_resample(table, Y)
        assert more.schema == table.schema
        assert more.num_rows == len(y) == 6

    def test_a_feature_that_comes_twice(self) -> None:
        frame = pd.DataFrame([[1.0, 2.0]] * 4, columns=["a", "a"])
        with pytest.raises(ValueError, match="X has two columns 'a'"):
            CascadeSampler(learner=FakeLearner()).fit_resample(frame, Y)

    def test_in_a_pipeline(self) -> None:
        array = np.arange(12.0).reshape(6, 2)
        pipeline = make_pipeline(
            CascadeSampler(learner=FakeLearner(), random_state=0), DecisionTreeClassifier()
        )
        assert len(pipeline.fit(array, [0, 0, 0, 0, 1, 1]).predict(array)) == 6
