"""The student's loss, and what its teacher tells it."""

from __future__ import annotations

import pytest
import torch
from cascade_distill.distilling.lessons import PART, Lessons, ask_teacher, loss_of_rows
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
        F.cross_entropy(logits, said[slot] if slot in said else tokens[:, slot], reduction="none")
        for slot, logits in enumerate(student.logits(tokens, suffix))
    ]
    # What is given is never drawn.
    return (torch.stack(terms, dim=1) * ~suffix).sum(dim=1).mean()


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
    def lessons(self, student: Student, count: int, asked: int) -> Lessons:
        """A teacher that says what the student would, to half precision."""
        tokens, suffix, _ = rows(student, count)

        def ask(tokens: Tensor, suffix: Tensor) -> dict[int, Tensor]:
            logits = student.logits(tokens, suffix)
            return {slot: each.softmax(dim=1) for slot, each in enumerate(logits)}

        return ask_teacher(tokens, suffix, asked, ask)

    def test_progress_is_told(self, student: Student) -> None:
        tokens, suffix, said = rows(student, PART + 9)
        told: list[tuple[int, int]] = []
        found = ask_teacher(
            tokens,
            suffix,
            PART + 7,
            lambda part, _: {slot: p[: len(part)] for slot, p in said.items()},
            lambda *done: told.append(done),
        )
        assert told == [(PART, PART + 7), (PART + 7, PART + 7)]
        assert len(found) == PART + 9
        assert found.conditionals.shape == (PART + 7, sum(student.layout.sizes))

    def test_who_does_not_listen_learns_the_rows(self, student: Student) -> None:
        lessons = self.lessons(student, 30, asked=10)
        found = lessons.loss(student, torch.arange(30), listened=0.0)
        torch.testing.assert_close(found, student.loss(lessons.rows, lessons.suffix))

    def test_who_listens_learns_what_is_said_of_those_that_were_asked_about(
        self, student: Student
    ) -> None:
        lessons = self.lessons(student, 30, asked=10)
        picked = torch.tensor([3, 29, 9, 10])
        said = dict(enumerate(lessons.conditionals.double().split(student.layout.sizes, dim=1)))
        words = [
            student.loss(
                lessons.rows[[at]], lessons.suffix[[at]], {s: p[[at]] for s, p in said.items()}
            )
            for at in (3, 9)
        ]
        own = [student.loss(lessons.rows[[at]], lessons.suffix[[at]]) for at in (3, 9, 29, 10)]
        half = [(word + row) / 2 for word, row in zip(words, own, strict=False)]
        for listened, wanted in ((1.0, [*words, *own[2:]]), (0.5, [*half, *own[2:]])):
            found = lessons.loss(student, picked, listened)
            # Probabilities are kept to ten bits.
            torch.testing.assert_close(found, torch.stack(wanted).mean(), rtol=1e-3, atol=1e-3)

    def test_rows_of_the_table_are_learnt_beside_lessons(self, student: Student) -> None:
        lessons = self.lessons(student, 30, asked=10)
        own = (lessons.rows[20:23], lessons.suffix[20:23])
        found = lessons.loss(student, torch.tensor([3]), 0.5, own)
        alone = lessons.loss(student, torch.tensor([3]), 0.5)
        wanted = (alone + 3 * student.loss(*own)) / 4
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)

    def test_the_loss_of_rows_falls_with_what_makes_them_likelier(self, student: Student) -> None:
        lessons = self.lessons(student, PART + 50, asked=1)
        loss = loss_of_rows(student, lessons.rows, lessons.suffix)
        torch.testing.assert_close(loss(), student.loss(lessons.rows, lessons.suffix))
        before = loss()
        share = torch.bincount(lessons.rows[:, 0], minlength=student.layout.sizes[0])
        with torch.no_grad():
            student.heads[0].weight.zero_()
            student.heads[0].bias.copy_((share + 0.5).log())
        assert loss() < before

    def test_a_part_is_as_the_whole(self, student: Student) -> None:
        lessons = self.lessons(student, 30, asked=20)
        first, rest = lessons.split(22)
        assert (len(first), len(rest)) == (22, 8)
        for part, begin in ((first, 0), (rest, 22)):
            picked = torch.arange(len(part))
            torch.testing.assert_close(
                part.loss(student, picked, 0.5), lessons.loss(student, picked + begin, 0.5)
            )
