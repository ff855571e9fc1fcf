"""Whether synthetic rows are copies of the rows that were learnt from."""

from __future__ import annotations

import numpy as np
import pandas as pd
from cascade_distill.fidelity.memorisation import (
    beyond_floor,
    margins,
    most_equal,
    nearest_equality,
    worst_copies,
)

from tests.distill.made_up import payments, schema_of

LEARNT, OTHERS = payments(800, 1), payments(400, 2)
SCHEMA = schema_of(LEARNT, OTHERS)


class TestMostEqual:
    def test_counts_equal_cells_of_the_closest_row(self) -> None:
        rows = np.array([[1, 2, 3], [1, 5, 6], [-1, 5, 6]], np.int16)
        queries = np.array([[1, 5, 9], [-1, 5, 6], [7, 7, 7]], np.int16)
        equal, nearest = most_equal(queries, rows)
        assert equal.tolist() == [2, 3, 0]
        assert nearest.tolist() == [1, 2, 0]


class TestNearestEquality:
    def test_copies_have_every_cell_in_common(self) -> None:
        assert nearest_equality(LEARNT, LEARNT.sample(frac=1, random_state=0), SCHEMA) == 1

    def test_numbers_moved_a_little_are_copies_still(self) -> None:
        """Three of ten thousand is less than most gaps between 800 amounts."""
        moved = LEARNT.assign(amount=LEARNT["amount"] * 1.0003)
        assert nearest_equality(LEARNT, moved, SCHEMA) == 1

    def test_other_real_rows_have_fewer(self) -> None:
        found = nearest_equality(LEARNT, OTHERS, SCHEMA)
        # Categories and small whole numbers agree with some row, numbers of many values do not.
        assert 3 / 7 <= found <= 5 / 7

    def test_null_is_equal_to_null_alone(self) -> None:
        learnt = pd.DataFrame({"a": [None, "x", "x"] * 10, "b": [1.5, None, 2.5] * 10})
        schema = schema_of(learnt)
        asked = pd.DataFrame({"a": [None], "b": [2.5]})
        assert nearest_equality(learnt, asked, schema) == 0.5
        assert nearest_equality(learnt, pd.DataFrame({"a": [None], "b": [1.5]}), schema) == 1

    def test_half_copied_rows_show_in_the_worst(self) -> None:
        """The median looks past a few copies, which are what is shown."""
        mixed = pd.concat([OTHERS, LEARNT.iloc[[17]]], ignore_index=True)
        assert nearest_equality(LEARNT, mixed, SCHEMA) == nearest_equality(LEARNT, OTHERS, SCHEMA)
        worst = worst_copies(LEARNT, mixed, SCHEMA, most=3)
        assert (worst[0].equal, worst[0].columns, worst[0].learnt_row) == (7, 7, 17)
        assert worst[0].differs == {}
        assert worst[1].equal < 7


class TestWorstCopies:
    def test_says_what_differs_and_which_row_of_the_table_it_is(self) -> None:
        asked = LEARNT.iloc[[5]].assign(channel="app" if LEARNT["channel"][5] != "app" else "web")
        learnt = LEARNT.set_axis(np.arange(800) * 10)
        (copy,) = worst_copies(learnt, asked, SCHEMA, most=3)
        assert copy.learnt_row == 50
        assert copy.equal == 6
        assert dict(copy.differs) == {"channel": LEARNT["channel"][5]}
        assert copy.values["channel"] == asked["channel"].iloc[0]

    def test_rows_closest_to_the_same_row_count_once(self) -> None:
        asked = LEARNT.iloc[[3, 3, 3, 9]]
        assert [c.learnt_row for c in worst_copies(LEARNT, asked, SCHEMA, most=3)] == [3, 9]


def figures(equality: float, closer: float, **floor: float) -> dict[str, dict[str, float]]:
    tier = {"nearest_equality": equality, "dcr_share": closer}
    plain = {"nearest_equality": 0.4, "dcr_share": 0.49} | margins(25, 5000, 1000) | floor
    return {"student": {"nearest_equality": 0.4, "dcr_share": 0.5}, "teacher": tier, "floor": plain}


class TestBeyondFloor:
    def test_what_real_rows_show_is_allowed(self) -> None:
        assert beyond_floor(figures(0.4, 0.5)) == []

    def test_so_is_what_is_within_the_margin(self) -> None:
        assert beyond_floor(figures(0.45, 0.55)) == []

    def test_rows_learnt_by_heart_are_named_by_tier_with_what_is_allowed(self) -> None:
        """The claims table of 800 rows that was learnt for 8,000 steps."""
        found = beyond_floor(figures(0.84, 0.65))
        assert found is not None
        equality, closer = found
        assert "teacher's has 84% of its cells" in equality
        assert "held out 40%" in equality
        assert "up to 45%" in equality
        assert "65.0% of the teacher's rows" in closer
        assert "up to 55.0%" in closer

    def test_the_floors_bad_luck_is_not_held_against_it(self) -> None:
        assert beyond_floor(figures(0.4, 0.54, dcr_share=0.45)) == []

    def test_figures_that_lack_it_say_nothing(self) -> None:
        assert beyond_floor({}) is None
        old = figures(0.4, 0.5)
        del old["student"]["nearest_equality"]
        assert beyond_floor(old) is None

    def test_few_rows_and_few_columns_are_allowed_more(self) -> None:
        few, many = margins(4, 500, 100), margins(25, 100_000, 10_000)
        assert few["nearest_equality_margin"] == 0.25
        assert few["dcr_share_margin"] == 0.1
        assert many["nearest_equality_margin"] == 0.05
        assert many["dcr_share_margin"] == 0.05
