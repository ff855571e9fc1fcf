"""Relations come to hold in as many drawn rows as in real ones, however seldom they did before."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
import torch
from cascade_distill.export.student_graph import export_student
from cascade_distill.export.teacher_graph import export_teacher
from cascade_distill.learning.drawn_shares import (
    FEWEST,
    FEWEST_ROWS,
    GIVEN,
    MOST,
    ROWS,
    STEPS,
    TIMED_ROWS,
    missing_odds,
    rows_within,
    seconds_a_row,
    settle_marks,
)
from cascade_distill.models.student import Student, StudentConfig
from cascade_distill.models.teacher import Denoiser, TeacherConfig
from cascade_distill.runtime import StudentSampler, TeacherSampler, complete_rows
from cascade_tables import Codec
from cascade_tables.codecs.following.marks import flags_of
from torch import Tensor

from tests import ledgers
from tests.releases import every_kind

Sampler = StudentSampler | TeacherSampler


class Tier:
    """A network that has learnt nothing: how often it draws its marks is chance."""

    def __init__(self, codec: Codec, tier: str) -> None:
        self.codec = codec
        torch.manual_seed(4)
        self.model: Student | Denoiser
        if tier == "student":
            self.model = Student(codec.layout, StudentConfig(width=16, head_width=16))
        else:
            self.model = Denoiser(codec.layout, TeacherConfig(16, 16, 1, 8)).eval()

    def sampler(self) -> Sampler:
        if isinstance(self.model, Student):
            return StudentSampler(export_student(self.model), self.codec.layout)
        return TeacherSampler(export_teacher(self.model), self.codec.layout)

    def shares(self, given: float) -> np.ndarray:
        """In which part of its rows each relation holds, with a part of real rows given."""
        rows = ledgers.settlements(4_000, seed=91)
        rng = np.random.default_rng(92)
        known = rng.random((len(rows), len(self.codec.columns))) < given
        drawn = complete_rows(self.sampler(), self.codec, rows, known, rng)
        return flags_of(self.codec.schema, drawn).mean(axis=0)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return ledgers.settlements_codec()


@pytest.fixture(scope="module")
def rows(codec: Codec) -> Tensor:
    return torch.from_numpy(codec.learnable(ledgers.settlements(4_000, seed=6))).long()


@pytest.mark.parametrize("tier", ["student", "teacher"])
def test_they_hold_as_often_as_in_the_rows_learnt_from(
    codec: Codec, rows: Tensor, tier: str
) -> None:
    wanted = rows[:, len(codec.layout.sizes) :].double().mean(dim=0).numpy()
    taught = Tier(codec, tier)
    before = np.array([taught.shares(given) for given in (0.0, 1 / 3)])
    settle_marks(taught.model, codec, rows, taught.sampler, seed=0)
    after = np.array([taught.shares(given) for given in (0.0, 1 / 3)])
    missed = np.abs(before - wanted).max(), np.abs(after - wanted).max()
    # A network that knows nothing of its context cannot be right with and without it.
    assert missed[1] < missed[0] / 2
    # What is right is the middle of both.
    np.testing.assert_allclose(after.mean(axis=0), wanted, atol=0.05)


def test_a_network_without_marks_is_left_as_it_is() -> None:
    codec = every_kind()
    assert not codec.layout.marks

    def never() -> Sampler:
        raise AssertionError("nothing is to be drawn")

    model = Student(codec.layout, StudentConfig(width=16, head_width=16))
    settle_marks(model, codec, torch.zeros((8, len(codec.layout.sizes))).long(), never, seed=0)


def test_as_many_rows_as_are_asked_for_are_drawn_and_told(codec: Codec, rows: Tensor) -> None:
    taught, told = Tier(codec, "student"), list[tuple[int, int]]()
    settle_marks(
        taught.model,
        codec,
        rows,
        taught.sampler,
        0,
        drawn=1_500,
        progress=lambda done, total: told.append((done, total)),
    )
    total = 1_500 * len(STEPS) * len(GIVEN)
    # In batches: two for each share each time.
    assert len(told) == 2 * len(STEPS) * len(GIVEN)
    assert told == sorted(told)
    assert told[-1] == (total, total)


def test_where_there_is_no_time_it_is_left_as_it_is(codec: Codec, rows: Tensor) -> None:
    taught = Tier(codec, "student")
    before = export_student(taught.model)
    assert not settle_marks(taught.model, codec, rows, taught.sampler, 0, drawn=0).any()
    assert export_student(taught.model) == before


@pytest.mark.parametrize("tier", ["student", "teacher"])
def test_beside_nulls_dates_and_categories(tier: str) -> None:
    """What is drawn and given again has all of them; the relations are of several kinds."""
    codec = ledgers.codec()
    frame = ledgers.claims(2_000, seed=7)
    rows = torch.from_numpy(codec.learnable(frame)).long()
    taught = Tier(codec, tier)
    wanted = flags_of(codec.schema, frame).mean(axis=0)
    some = (wanted > 0.05) & (wanted < 0.95)
    assert some.any()

    def missed() -> float:
        known = np.zeros((len(frame), len(codec.columns)), np.bool_)
        rng = np.random.default_rng(93)
        drawn = complete_rows(taught.sampler(), codec, frame, known, rng)
        gaps = np.abs(flags_of(codec.schema, drawn).mean(axis=0) - wanted)
        return float(gaps[some].max())

    before = missed()
    added = settle_marks(taught.model, codec, rows, taught.sampler, 0, drawn=1_024)
    assert torch.isfinite(added).all()
    assert added.any()
    assert missed() < before


class TestTime:
    """Where that is bounded, as many rows are drawn as fit into a twentieth of it."""

    def test_rows_of_half_a_hundredth_of_a_second(self) -> None:
        # 8 x 2,250 of them take 90 s, which is a twentieth of half an hour.
        assert rows_within(1800.0, 0.005) == 2_250

    def test_no_more_than_where_it_is_not(self) -> None:
        assert rows_within(1e6, 0.005) == ROWS

    def test_none_rather_than_few(self) -> None:
        assert rows_within(60.0, 0.005) == 0
        assert rows_within(20 * 8 * FEWEST_ROWS * 0.005, 0.005) == FEWEST_ROWS

    def test_some_rows_are_timed(self, codec: Codec, rows: Tensor) -> None:
        taught, clock = Tier(codec, "student"), count(step=64)
        found = seconds_a_row(codec, rows, taught.sampler(), lambda: float(next(clock)))
        assert found == 64 / TIMED_ROWS


class TestMissingOdds:
    def test_what_each_kind_lacks_counts_alike(self) -> None:
        wanted = np.array([0.5, 0.2])
        held = np.array([[0.4, 0.2], [0.6, 0.25]])
        expected = [0.0, (np.log(0.2 / 0.8) - np.log(0.25 / 0.75)) / 2]
        np.testing.assert_allclose(missing_odds(wanted, held, 4_000), expected, atol=1e-12)

    def test_one_that_was_never_drawn_is_made_likelier_by_no_more_than_the_most(self) -> None:
        found = missing_odds(np.array([0.3]), np.array([[0.0], [0.0]]), 4_000)
        assert found.tolist() == [MOST]

    def test_hardly_any_row_and_hardly_any_other_say_nothing(self) -> None:
        rows = 1_000
        wanted = np.array([(FEWEST - 1) / rows, 1 - (FEWEST - 1) / rows, 0.0, 1.0])
        assert not missing_odds(wanted, np.full((2, 4), 0.5), rows).any()
