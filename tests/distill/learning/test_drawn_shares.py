"""Relations come to hold in as many drawn rows as in real ones, however seldom they did before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
import torch
from cascade_distill.export.student_graph import export_student
from cascade_distill.export.teacher_graph import export_teacher
from cascade_distill.learning.drawn_shares import FEWEST, MOST, missing_odds, settle_marks
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
        self.model.centre_head()
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


def test_it_ends_where_time_is_short(codec: Codec, rows: Tensor) -> None:
    taught, drawn = Tier(codec, "student"), count()

    def sampler() -> Sampler:
        next(drawn)
        return taught.sampler()

    def ticks() -> Iterator[float]:
        """Ten seconds pass between one look and the next."""
        return map(float, count(step=10))

    clock = ticks()
    # A twentieth of it are 25 seconds: a third time would end after 30.
    settle_marks(taught.model, codec, rows, sampler, 0, 500.0, clock=lambda: next(clock))
    assert next(drawn) == 2


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
