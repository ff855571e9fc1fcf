"""A codec of all kinds of columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from cascade_tables import Codec, Frame, infer_schema

from tests.releases import payments


@pytest.fixture(scope="module")
def codec() -> Codec:
    """`payments`, whose channel alone may be NULL, and real numbers, binned and listed."""
    table = payments()
    rng = np.random.default_rng(0)
    more = {"score": rng.random(800), "size": rng.integers(0, 4, 800) * 2.5, "gone": [5] * 800}
    table = Frame({**table.columns, **Frame.from_arrow(pa.table(more)).columns})
    return Codec.fit(infer_schema(table), table)
