"""The bundled tables' held-out rows, all in one request, with features that are late."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cascade_client import Client, InvalidRequest
from cascade_loadtest.servers import default_server, serving
from cascade_tables import read_table

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        serving(default_server(ROOT / "model_repository")) as server,
        # Of thousands of rows a server on a busy machine refuses what it expects to be late.
        Client(server.target, timeout=3600) as client,
    ):
        client.wait_ready(60)
        yield client


def held_out(client: Client, table: str) -> pd.DataFrame:
    """Rows that the release has never seen, with the columns that it has."""
    frame = read_table(ROOT / "examples" / table / "test.parquet")
    names = [column.name for column in client.describe(table).columns]
    return frame.select(names).to_pandas()


@pytest.mark.parametrize("table", ["credit", "adult"])
class TestHeldOutRows:
    """Some of them have values that were never learnt."""

    def test_with_two_columns_late(self, client: Client, table: str) -> None:
        frame = held_out(client, table)
        given = frame.drop(columns=frame.columns[[3, 4]])
        answer = client.synthesize(table, given, fidelity="fast")
        assert list(answer.data) == list(frame)
        pd.testing.assert_frame_equal(answer.data[list(given)], given, check_dtype=False)
        assert answer.data[frame.columns[[3, 4]]].notna().all(axis=None)
        beyond = [each for each in answer.provenance.outside_values if each.kind != "between"]
        assert beyond
        with pytest.raises(InvalidRequest) as refused:
            client.synthesize(table, given, fidelity="fast", strict=True)
        for each in beyond:
            assert f"{each.column!r}" in str(refused.value)
            assert f"row {each.row}" in str(refused.value)

    def test_with_holes_in_numbers(self, client: Client, table: str) -> None:
        """As a frame that was joined with late features has them."""
        frame, rng = held_out(client, table), np.random.default_rng(0)
        kinds = {column.name: column for column in client.describe(table).columns}
        numbers = [
            name
            for name in frame
            if kinds[name].kind in ("integer", "continuous") and not kinds[name].nullable
        ]
        given = frame.astype(dict.fromkeys(numbers, "float64"))
        holes = pd.DataFrame(rng.random((len(given), len(numbers))) < 0.1, columns=numbers)
        given[numbers] = given[numbers].mask(holes)
        data = client.synthesize(table, given, fidelity="fast").data
        assert data[numbers].notna().all(axis=None)
        kept = data[numbers].astype("float64").mask(holes)
        pd.testing.assert_frame_equal(kept, given[numbers])

    def test_a_row_alone_is_conditioned_as_among_others(self, client: Client, table: str) -> None:
        frame = held_out(client, table)
        outside = client.synthesize(table, frame, fidelity="fast").provenance.outside_values
        assert outside
        for each in outside[:5]:
            [alone] = client.synthesize(table, frame.iloc[[each.row]]).provenance.outside_values
            assert (alone.column, alone.kind) == (each.column, each.kind)
            assert alone.conditioned_on == each.conditioned_on
            assert alone.row == 0
