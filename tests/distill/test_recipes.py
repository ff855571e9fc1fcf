"""What a table's rows and columns choose, and what is said of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from cascade_distill.recipes import (
    SIZES,
    StudentRecipe,
    TeacherRecipe,
    described,
    duration,
    rows_to_hold_out,
    student_recipe,
    teacher_recipe,
    warnings,
    within,
)

ROWS = [200, 800, 3_000, 12_000, 30_000, 300_000, 3_000_000]


class TestSize:
    @pytest.mark.parametrize(
        ("rows", "columns"), [(29_305, 15), (21_600, 24), (11_102, 32), (8_878, 18)]
    )
    def test_tables_of_tens_of_thousands_of_rows_get_the_defaults(
        self, rows: int, columns: int
    ) -> None:
        """Those that the defaults were found with: adult, credit, vehicle claims, shoppers."""
        found, plain = teacher_recipe(rows, columns), TeacherRecipe()
        assert found.model == plain.model
        patient = replace(plain.train, evaluate_every=100, patience=found.train.patience)
        assert found.train == patient
        assert student_recipe(rows, columns) == StudentRecipe()

    @pytest.mark.parametrize("rows", ROWS)
    def test_a_machine_without_bfloat16_does_not_emulate_it(self, rows: int) -> None:
        for recipe in (
            teacher_recipe(rows, 20, bfloat16=False),
            student_recipe(rows, 20, bfloat16=False),
        ):
            assert not recipe.train.bfloat16

    def test_more_rows_are_given_more(self) -> None:
        found = [teacher_recipe(rows, 20) for rows in ROWS]
        for name in ("width", "hidden", "fine_width"):
            sizes = [getattr(recipe.model, name) for recipe in found]
            assert sizes == sorted(sizes)
            assert sizes[0] < sizes[-1]
        steps = [recipe.train.steps for recipe in found]
        assert steps == sorted(steps)
        shares = [recipe.model.dropout for recipe in found]
        assert shares == sorted(shares, reverse=True)
        assert shares[0] > shares[-1]

    @pytest.mark.parametrize("rows", ROWS)
    def test_many_columns_widen_the_network_and_nothing_else(self, rows: int) -> None:
        narrow, wide = (teacher_recipe(rows, columns, bfloat16=False) for columns in (20, 300))
        assert wide.model.width > narrow.model.width
        assert wide.train == narrow.train
        assert wide.model.dropout == narrow.model.dropout

    def test_without_rows_held_out_a_small_table_learns_for_less_long(self) -> None:
        blind, seeing = teacher_recipe(40, 5, held_out=False), teacher_recipe(40, 5)
        assert blind.train.steps < seeing.train.steps
        assert blind.model == seeing.model

    @pytest.mark.parametrize("rows", ROWS)
    def test_a_run_that_nothing_ends_is_looked_at_often(self, rows: int) -> None:
        train = teacher_recipe(rows, 20).train
        assert train.patience * train.evaluate_every < train.steps / 2
        assert train.warmup_steps <= train.steps / 10


def test_the_page_says_what_is_chosen() -> None:
    page = (Path(__file__).parents[2] / "docs/training.md").read_text()
    rows = re.findall(r"^\| ([\d,]+) \|(.*)\|$", page, re.MULTILINE)
    found = [
        [float(cell.replace(",", "")) for cell in (first, *rest.split("|"))] for first, rest in rows
    ]
    assert found == [
        [s.rows, s.width, s.dropout, s.steps, s.batch_rows, s.student_steps, s.teacher_rows]
        for s in SIZES
    ]


class TestMinutes:
    def test_steps_are_what_fits_and_the_clock_ends_them(self) -> None:
        recipe = within(teacher_recipe(20_000, 20), minutes=1, seconds_a_step=0.05)
        assert recipe.train.steps == 1140
        assert recipe.train.most_seconds == 60
        assert recipe.train.warmup_steps == 114

    def test_never_more_steps_than_the_table_gets(self) -> None:
        plain = teacher_recipe(20_000, 20)
        recipe = within(plain, minutes=1000, seconds_a_step=0.05)
        assert recipe.train.steps == plain.train.steps
        assert recipe.train.evaluate_every == plain.train.evaluate_every

    def test_a_moment_is_a_step(self) -> None:
        train = within(teacher_recipe(20_000, 20), minutes=1e-6, seconds_a_step=5).train
        assert (train.steps, train.evaluate_every, train.warmup_steps) == (1, 1, 1)


class TestHeldOut:
    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            (49, 0),
            (50, 10),
            (200, 40),
            (1_000, 100),
            (5_000, 500),
            (32_561, 3_256),
            (10**7, 4_096),
        ],
    )
    def test_a_tenth_more_of_few_rows_and_no_more_than_tell(self, rows: int, expected: int) -> None:
        assert rows_to_hold_out(rows) == expected


class TestWarnings:
    @pytest.mark.parametrize(
        ("rows", "columns", "says"),
        [
            (30, 5, "30 rows are too few to hold any out"),
            (300, 5, "300 rows are few: expect"),
            (1_200, 100, "1,200 rows are few for 100 columns"),
            (90_000, 300, "300 columns are many"),
        ],
    )
    def test_says_what_is_too_small_or_too_wide(self, rows: int, columns: int, says: str) -> None:
        (warning,) = warnings(rows, columns)
        assert says in warning

    def test_nothing_of_the_bundled_tables(self) -> None:
        assert warnings(32_561, 15) == warnings(24_000, 24) == []

    def test_both_where_both_hold(self) -> None:
        assert len(warnings(300, 500)) == 2


class TestWords:
    @pytest.mark.parametrize(
        ("seconds", "said"),
        [
            (0.2, "about 1 second"),
            (41.4, "about 41 seconds"),
            (150, "about 2.5 minutes"),
            (1200, "about 20 minutes"),
            (9000, "about 2.5 hours"),
        ],
    )
    def test_a_length_of_time(self, seconds: float, said: str) -> None:
        assert duration(seconds) == said

    def test_what_was_chosen(self) -> None:
        said = described(teacher_recipe(900, 21), 900, 21, 100)
        for part in ("900 rows of 21 columns", "width 64", "2,000 steps", "held out: 100 rows"):
            assert part in said

    def test_nothing_is_said_of_rows_that_are_not_held_out(self) -> None:
        assert "held out" not in described(teacher_recipe(40, 5, held_out=False), 40, 5, 0)
