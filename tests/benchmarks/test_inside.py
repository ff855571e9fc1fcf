"""What Triton is asked from inside: a column's input is the value that its number in `row` is."""

from __future__ import annotations

import numpy as np
import pytest
from cascade_proto import inference_pb2 as pb
from cascade_tables import Codec, ColumnData, ColumnOverride, Frame, infer_schema

from benchmarks.load.triton.inside import add_column


@pytest.fixture(scope="module")
def codec() -> Codec:
    """One column of shops, some of which fold, and one of amounts."""
    rng = np.random.default_rng(0)
    shops = np.array([f"shop {rank}" for rank in rng.zipf(1.6, 4_000) % 200], object)
    none = np.zeros(4_000, bool)
    frame = Frame(
        {"shop": ColumnData(shops, none), "amount": ColumnData(rng.normal(size=4_000), none)}
    )
    return Codec.fit(infer_schema(frame, {"shop": ColumnOverride(max_categories=20)}), frame)


@pytest.mark.parametrize("place", ["first", "label", "last"])
def test_a_category_is_named_wherever_its_place_is(codec: Codec, place: str) -> None:
    """Those that share a token come after the label that stands for them."""
    column = codec.schema["shop"]
    labels = codec.rows.labels[0]
    assert len(labels) > len(column.categories) + 1
    at = {"first": 0, "label": len(column.categories), "last": len(labels) - 1}[place]
    request = pb.ModelInferRequest()
    add_column(request, codec, 0, float(at))
    (given,) = request.inputs
    assert (given.name, given.datatype, list(given.shape)) == ("shop", "BYTES", [1, 1])
    (raw,) = request.raw_input_contents
    assert int.from_bytes(raw[:4], "little") == len(raw) - 4
    assert raw[4:].decode() == labels[at]
    if place == "label":
        assert labels[at] == column.other


def test_a_number_is_its_own(codec: Codec) -> None:
    request = pb.ModelInferRequest()
    add_column(request, codec, 1, 0.25)
    assert request.inputs[0].datatype == "FP64"
    assert np.frombuffer(request.raw_input_contents[0]).tolist() == [0.25]
