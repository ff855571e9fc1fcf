"""The student's loss, and what its teacher tells it."""

from __future__ import annotations

import pytest
import torch
from cascade_distill.distilling.lessons import PART, Lessons, ask_teacher, gap_to_teacher
from cascade_distill.models.student import Student, StudentConfig, random_suffix
from cascade_tables import Codec, infer_schema
from torch import Tensor
from torch.nn import functional as F

from tests.releases import payments


@pytest.fixture
def student() -> Student:
    """In double precision, so that two ways of adding up agree closely."""
    torch.manual_seed(0)
    frame = payments(300)
    student = Student(Codec.fit(infer_schema(frame), frame).layout, StudentConfig(16, 24))
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return student.double()


def rows(student: Student, count: int, seed: int = 1) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Tokens, suffixes and conditionals, all at random."""
    generator = torch.Generator().manual_seed(seed)
    sizes = student.layout.sizes
    tokens = [torch.randint(size, (count,), generator=generator) for size in sizes]
    suffix = random_suffix(count, student.layout, StudentConfig(), generator)
    said = {
        slot: torch.rand(count, size, generator=generator).double().mul(5).softmax(dim=1)
        for slot, size in enumerate(sizes)
    }
    return torch.stack(tokens, dim=1), suffix, said


def plain_loss(student: Student, tokens: Tensor, suffix: Tensor, said: dict[int, Tensor]) -> Tensor:
    """By autograd, from the logits of all slots."""
    terms = [
        F.cross_entropy(logits, said[slot] if slot in said else tokens[:, slot])
        for slot, logits in enumerate(student.logits(tokens, suffix))
    ]
    return torch.stack(terms).sum()


class TestLoss:
    """The walk is the plain loss and autograd's gradients."""

    @pytest.mark.parametrize("told", ["nothing", "some", "all"])
    def test_value_and_gradients(self, student: Student, told: str) -> None:
        tokens, suffix, said = rows(student, 50)
        said = {"nothing": {}, "some": {1: said[1], 4: said[4]}, "all": said}[told]
        found, gradients = [], []
        for loss in (
            plain_loss(student, tokens, suffix, said),
            student.loss(tokens, suffix, said),
        ):
            student.zero_grad()
            # Twice, to see that what comes from above is taken into account.
            (2 * loss).backward()  # type: ignore[no-untyped-call]
            found.append(loss.detach())
            gradients.append({name: p.grad for name, p in student.named_parameters()})
        # Sums of some hundred doubles of about 1, in another order.
        torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-12)

    def test_in_bfloat16_it_is_about_the_same(self, student: Student) -> None:
        student = student.float()
        tokens, suffix, said = rows(student, 50)
        expected = student.loss(tokens, suffix, said)
        with torch.autocast("cpu", torch.bfloat16):
            found = student.loss(tokens, suffix, said)
            found.backward()  # type: ignore[no-untyped-call]
        # Eight bits of mantissa.
        torch.testing.assert_close(found, expected, rtol=2**-7, atol=0.0)
        assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())

    def test_without_gradients_it_makes_none(self, student: Student) -> None:
        tokens, suffix, said = rows(student, 5)
        with torch.no_grad():
            assert not student.loss(tokens, suffix, said).requires_grad


class TestLessons:
    def lessons(self, student: Student, count: int) -> Lessons:
        """A teacher that says what the student would, to half precision."""
        tokens, suffix, _ = rows(student, count)

        def ask(tokens: Tensor, suffix: Tensor) -> dict[int, Tensor]:
            logits = student.logits(tokens, suffix)
            return {slot: each.softmax(dim=1) for slot, each in enumerate(logits)}

        return ask_teacher(tokens, suffix, ask)

    def test_progress_is_told(self, student: Student) -> None:
        tokens, suffix, said = rows(student, PART + 7)
        told: list[tuple[int, int]] = []
        found = ask_teacher(
            tokens,
            suffix,
            lambda part, _: {slot: p[: len(part)] for slot, p in said.items()},
            lambda *done: told.append(done),
        )
        assert told == [(PART, PART + 7), (PART + 7, PART + 7)]
        assert found.conditionals.shape == (PART + 7, sum(student.layout.sizes))

    def test_who_says_the_same_is_no_distance_away(self, student: Student) -> None:
        lessons = self.lessons(student, 200)
        # Probabilities of ten bits: each term is off by up to 2^-11 of itself.
        assert abs(float(gap_to_teacher(student, lessons)())) < 2**-11 * 50

    def test_who_says_something_else_is(self, student: Student) -> None:
        gap = gap_to_teacher(student, self.lessons(student, 200))
        with torch.no_grad():
            student.heads[0].bias[0] += 3.0
        p = 1.0 / student.layout.sizes[0]
        assert float(gap()) > 0.1 * p

    def test_a_part_is_as_the_whole(self, student: Student) -> None:
        lessons = self.lessons(student, 30)
        first, rest = lessons.split(20)
        assert (len(first), len(rest)) == (20, 10)
        picked = torch.arange(20, 30)
        torch.testing.assert_close(
            lessons.loss(student, picked), rest.loss(student, torch.arange(10))
        )
