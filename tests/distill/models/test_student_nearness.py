"""The student's numbers are told where their neighbours lie."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from cascade_distill.export.student_graph import export_student, student_noise_width
from cascade_distill.export.student_nearness_graph import NEARNESS
from cascade_distill.models.nearness import ABOVE, EQUAL, FAR, KERNEL
from cascade_distill.models.neighbours import MASS_APART, UNKNOWN, chosen_neighbours, neighbours_of
from cascade_distill.models.student import Student, StudentConfig, random_suffix
from cascade_distill.models.student_nearness import EQUAL_AT, LEAST, steps
from cascade_tables import Codec, infer_schema
from torch import Tensor
from torch.nn import functional as F

from tests.distill.bills import bills

JUNE, JULY, AUGUST = range(3)
CONFIG = StudentConfig(width=16, head_width=16, unconditional_share=0.2)


@pytest.fixture(scope="module")
def codec() -> Codec:
    frame = bills()
    return Codec.fit(infer_schema(frame), frame)


@pytest.fixture(scope="module")
def rows(codec: Codec) -> Tensor:
    return torch.from_numpy(codec.learnable(bills())).long()


@pytest.fixture
def student(codec: Codec, rows: Tensor) -> Student:
    """With weights at random, in double precision so that two ways of adding up agree closely."""
    torch.manual_seed(0)
    chosen = dict(chosen_neighbours(codec, rows.numpy()))
    # Sums whose parts are before the number, behind it and on both sides.
    chosen[JUNE] += (((JULY, 1), (AUGUST, -1)),)
    chosen[JULY] += (((JUNE, -1), (AUGUST, 1)),)
    chosen[AUGUST] += (((JUNE, 1), (JULY, 1)),)
    targets = neighbours_of(codec, list(chosen.items()))
    student = Student(codec.layout, CONFIG, targets)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return student.eval().double()


def some(rows: Tensor, student: Student, count: int = 60) -> tuple[Tensor, Tensor]:
    """Rows, and which of their slots are given."""
    generator = torch.Generator().manual_seed(1)
    return rows[:count], random_suffix(count, student.layout, CONFIG, generator)


def noise(student: Student, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    width = student_noise_width(student.layout.sizes)
    return torch.rand(count, width, generator=generator).clamp(1e-6, 1 - 1e-6)


class TestSteps:
    def test_what_is_beyond_says_nothing_but_an_equal_point_mass(self) -> None:
        found = steps()
        at = {
            distance: int(found[distance - (LEAST - 1)])
            for distance in (LEAST - 1, LEAST, -FAR - 1, FAR + 1, EQUAL_AT, EQUAL_AT + 1)
        }
        assert at == {
            LEAST - 1: KERNEL,
            LEAST: KERNEL,
            -FAR - 1: KERNEL,
            FAR + 1: ABOVE,
            EQUAL_AT: EQUAL,
            EQUAL_AT + 1: KERNEL,
        }

    def test_only_the_same_point_mass_and_bins_have_a_distance(self, student: Student) -> None:
        """Of tokens, the steps from codes of bins, of two point masses and of what is unknown."""
        near = student.nearness
        assert near is not None
        at = near.coarse[student.layout.column.index(JUNE)]
        target = near.targets[at]
        tokens = near.token_at[at, : near.sizes[at]]
        codes = torch.tensor([0, 512, 1023, MASS_APART, 2 * MASS_APART, UNKNOWN])
        away = tokens - codes[:, None]
        found = near.step[away.clamp(LEAST - 1, EQUAL_AT + 1) - (LEAST - 1)]
        bins = slice(target.bins_from, target.bins_from + 64)
        assert (found[3:, bins] == KERNEL).all()
        masses = found[:, target.masses : target.bins_from]
        assert (masses[[0, 1, 2, 5]] == KERNEL).all()
        for code, row in zip((0, 1), masses[3:5], strict=True):
            assert [step == EQUAL for step in row.tolist()] == [
                mass == code for mass in range(len(row))
            ]


class TestLoss:
    def test_value_and_gradients_are_those_of_autograd(
        self, student: Student, rows: Tensor
    ) -> None:
        few, suffix = some(rows, student)
        inputs = student.marks.student_inputs(few, suffix, None)
        targets = student.marks.student_targets(few, suffix)
        plain = [
            F.cross_entropy(logits, targets[:, slot], reduction="none")
            for slot, logits in enumerate(student.logits(inputs, suffix))
        ]
        plain_loss = (torch.stack(plain, dim=1) * ~suffix).sum(dim=1).mean()
        found, gradients = [], []
        for loss in (plain_loss, student.loss(few, suffix)):
            student.zero_grad()
            loss.backward()
            found.append(loss.item())
            gradients.append({name: p.grad for name, p in student.named_parameters()})
        assert found[0] == pytest.approx(found[1], rel=1e-9)
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradients[1][name], gradient, msg=lambda m, n=name: n + m)

    def test_a_number_is_never_told_of_itself(self, student: Student, rows: Tensor) -> None:
        """Of a given number, what its bin is expected to be does not depend on its bin."""
        few, _ = some(rows, student)
        slot = student.layout.column.index(JULY)
        observed = torch.ones(len(few), len(student.layout.sizes), dtype=torch.bool)
        others = few.clone()
        others[:, slot] = few.flip(0)[:, slot]
        slots = len(student.layout.sizes)
        first, second = (student.logits(each[:, :slots], observed)[slot] for each in (few, others))
        torch.testing.assert_close(first, second)

    def test_what_is_not_known_yet_is_not_seen(self, student: Student, rows: Tensor) -> None:
        """The first number's logits depend on later ones only where these are given."""
        few, _ = some(rows, student)
        slots = len(student.layout.sizes)
        slot = student.layout.column.index(JUNE)
        later = student.layout.column.index(JULY)
        others = few[:, :slots].clone()
        others[:, later : later + 2] = few.flip(0)[:, later : later + 2]
        hidden = torch.zeros(len(few), slots, dtype=torch.bool)
        given = hidden.clone()
        given[:, later : later + 2] = True
        for observed, same in ((hidden, True), (given, False)):
            first, second = (
                student.logits(each, observed)[slot] for each in (few[:, :slots], others)
            )
            assert torch.equal(first, second) is same


class TestDrawing:
    def test_draws_follow_the_logits(self, student: Student, rows: Tensor) -> None:
        few, observed = some(rows, student)
        slots = len(student.layout.sizes)
        uniform = noise(student, len(few))
        drawn = student.draw(few[:, :slots], observed, uniform)
        begin = 0
        for slot, logits in enumerate(student.logits(drawn, observed)):
            size = student.layout.sizes[slot]
            gumbel = -torch.log(-torch.log(uniform[:, begin : begin + size]))
            missing = ~observed[:, slot]
            choice = (logits + gumbel).argmax(dim=1)
            assert torch.equal(drawn[missing, slot], choice[missing])
            begin += size + 1

    @pytest.mark.parametrize("group", [None, 1, 3, 100])
    def test_the_graph_draws_the_same(
        self, student: Student, rows: Tensor, group: int | None
    ) -> None:
        student = student.float()
        model = export_student(student, group)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        few, observed = some(rows, student, 200)
        slots = len(student.layout.sizes)
        uniform = noise(student, len(few))
        # What is not given may be anything.
        given = few[:, :slots].where(observed, 2**30)
        feed = {
            "tokens": given.int().numpy(),
            "observed": observed.numpy(),
            "noise": uniform.numpy(),
        }
        (drawn,) = session.run(None, feed)
        wanted = student.draw(few[:, :slots], observed, uniform)
        np.testing.assert_array_equal(drawn, wanted.numpy())


class TestMetadata:
    def test_each_number_names_tables_that_the_graph_has(self, student: Student) -> None:
        model = onnx.load_model_from_string(export_student(student.float()))
        (said,) = (each.value for each in model.metadata_props if each.key == NEARNESS)
        names = {each.name for each in model.graph.initializer}
        names |= {name.removesuffix("_half") for name in names}
        numbers = json.loads(said)["numbers"]
        near = student.nearness
        assert near is not None
        assert [number["slot"] for number in numbers] == list(near.slots)
        for number in numbers:
            tables = ("gate", "gate_bias", "kernel", "fine_gate", "fine_gate_bias", "place")
            assert {number[table] for table in tables} <= names

    def test_a_student_without_neighbours_says_nothing(self, codec: Codec) -> None:
        model = onnx.load_model_from_string(export_student(Student(codec.layout, CONFIG)))
        assert not model.metadata_props
