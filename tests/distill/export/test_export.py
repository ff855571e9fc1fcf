"""The exported graphs say what the networks say: torch against ONNX Runtime, token by token.

Both compute the same float32 sums in different orders, so that logits differ by about 1e-6 of
their size. Where the two largest of a slot are closer than that, the draws may differ, and
everything that is drawn after them: hence 99.9 % of rows and not all.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cascade_distill.export.student_graph import export_student, student_noise_width
from cascade_distill.export.teacher_graph import export_teacher
from cascade_distill.models.neighbours import chosen_neighbours, neighbours_of
from cascade_distill.models.student import Student, StudentConfig
from cascade_distill.models.teacher import Denoiser, TeacherConfig
from cascade_distill.runtime import StudentSampler, TeacherSampler, sample_tokens, session
from cascade_distill.training.loop import round_weights
from torch import nn

ROWS = 10_000
LEAST_EQUAL = 0.999


@pytest.fixture(params=["adult", "credit", "claims", "bills"])
def table(request):  # type: ignore[no-untyped-def]
    return request.getfixturevalue(request.param)


def sharpened(model: nn.Module) -> nn.Module:
    """Random weights large enough for logits of a trained network's size."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    round_weights(model)
    return model.eval()


@pytest.fixture
def student(table):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    return sharpened(Student(table.codec.layout, StudentConfig()))


@pytest.fixture
def teacher(table):  # type: ignore[no-untyped-def]
    """Numbers are told of their neighbours where there are any: most of credit's are, in the bills
    one is not, and none of adult's."""
    torch.manual_seed(0)
    targets = neighbours_of(table.codec, chosen_neighbours(table.codec, table.tokens.numpy()))
    return sharpened(Denoiser(table.codec.layout, TeacherConfig(), targets))


class TestStudent:
    def test_equal_noise_gives_equal_tokens(self, table, student) -> None:  # type: ignore[no-untyped-def]
        tokens, observed = table.masked(ROWS, seed=1)
        width = student_noise_width(table.codec.layout.sizes)
        noise = np.random.default_rng(2).random((ROWS, width), dtype=np.float32)
        run = session(export_student(student), 1).run
        feed = {"tokens": tokens.int().numpy(), "observed": observed, "noise": noise}
        drawn = run(["drawn"], feed)[0]
        expected = student.draw(tokens, torch.from_numpy(observed), torch.from_numpy(noise))
        assert drawn.dtype == np.int32
        assert (drawn == expected.numpy()).all(axis=1).mean() >= LEAST_EQUAL
        assert (drawn[observed] == tokens.numpy()[observed]).all()
        assert (drawn >= 0).all()
        assert (drawn < np.array(table.codec.layout.sizes)).all()

    def test_a_row_does_not_depend_on_its_batch(self, table, student) -> None:  # type: ignore[no-untyped-def]
        """Skipped groups differ between a row alone and the row in a batch; the draw must not."""
        tokens, observed = table.masked(64, seed=3)
        width = student_noise_width(table.codec.layout.sizes)
        noise = np.random.default_rng(4).random((64, width), dtype=np.float32)
        run = session(export_student(student), 1).run
        feed = {"tokens": tokens.int().numpy(), "observed": observed, "noise": noise}
        together = run(["drawn"], feed)[0]
        alone = np.concatenate(
            [run(["drawn"], {k: v[i : i + 1] for k, v in feed.items()})[0] for i in range(64)]
        )
        assert np.array_equal(together, alone)

    @pytest.mark.parametrize("group", [1, 3, 100])
    def test_grouping_changes_no_draw(self, table, student, group: int) -> None:  # type: ignore[no-untyped-def]
        tokens, observed = table.masked(200, seed=5)
        width = student_noise_width(table.codec.layout.sizes)
        noise = np.random.default_rng(6).random((200, width), dtype=np.float32)
        feed = {"tokens": tokens.int().numpy(), "observed": observed, "noise": noise}
        drawn = [session(export_student(student, g), 1).run(["drawn"], feed)[0] for g in (2, group)]
        assert np.array_equal(*drawn)

    def test_the_extremes_of_the_noise_draw_valid_tokens(self, table, student) -> None:  # type: ignore[no-untyped-def]
        layout = table.codec.layout
        width = student_noise_width(layout.sizes)
        nothing = np.zeros((2, len(layout.sizes)), bool)
        noise = np.stack([np.zeros(width), np.full(width, 1 - 2**-24)]).astype(np.float32)
        feed = {"tokens": np.zeros(nothing.shape, np.int32), "observed": nothing, "noise": noise}
        drawn = session(export_student(student), 1).run(["drawn"], feed)[0]
        assert ((drawn >= 0) & (drawn < np.array(layout.sizes))).all()

    def test_training_conditions_on_the_prefix_and_the_observed_suffix_only(
        self, table, student
    ) -> None:  # type: ignore[no-untyped-def]
        tokens, _ = table.masked(4, seed=7)
        observed = torch.zeros(tokens.shape, dtype=torch.bool)
        slot = tokens.shape[1] // 2
        before = student.logits(tokens, observed)[slot]
        sizes = torch.tensor(table.codec.layout.sizes)
        changed = tokens.clone()
        changed[:, slot:] = (tokens[:, slot:] + 1) % sizes[slot:]
        torch.testing.assert_close(student.logits(changed, observed)[slot], before)
        observed[:, -1] = True
        assert not torch.allclose(student.logits(tokens, observed)[slot], before)


class TestTeacher:
    def test_equal_noise_gives_equal_tokens_and_scores(self, table, teacher) -> None:  # type: ignore[no-untyped-def]
        tokens, observed = table.masked(ROWS, seed=1)
        noise = np.random.default_rng(2).random((ROWS, sum(table.codec.layout.sizes)), np.float32)
        run = session(export_teacher(teacher), 1).run
        feed = {"tokens": tokens.int().numpy(), "observed": observed, "noise": noise}
        drawn, score = run(["drawn", "log_prob"], feed)
        known = torch.from_numpy(observed)
        expected = teacher.draw(tokens, known, torch.from_numpy(noise)).numpy()
        assert (drawn == expected).all(axis=1).mean() >= LEAST_EQUAL
        with torch.inference_mode():
            expected_score = teacher.log_prob(tokens, known).numpy()
        # float32 sums of a few hundred terms: 1e-6 of the largest logits, about 20.
        np.testing.assert_allclose(score, expected_score, atol=1e-4)
        assert (score[observed] == 0).all()

    def test_probabilities_of_a_slot_sum_to_one(self, table, teacher) -> None:  # type: ignore[no-untyped-def]
        layout = table.codec.layout
        slot = int(np.argmax(layout.sizes))
        size = layout.sizes[slot]
        tokens = table.tokens[:1].repeat(size, 1)
        tokens[:, slot] = torch.arange(size)
        observed = np.zeros(tokens.shape, bool)
        noise = np.full((size, sum(layout.sizes)), 0.5, np.float32)
        feed = {"tokens": tokens.int().numpy(), "observed": observed, "noise": noise}
        score = session(export_teacher(teacher), 1).run(["log_prob"], feed)[0]
        assert np.exp(score[:, slot], dtype=np.float64).sum() == pytest.approx(1, abs=1e-5)


class TestSampling:
    def test_equal_seeds_give_equal_rows_and_observed_slots_stay(self, table, teacher) -> None:  # type: ignore[no-untyped-def]
        layout = table.codec.layout
        sampler = TeacherSampler(export_teacher(teacher), layout)
        once, again, other = (sample_tokens(sampler, 40, seed) for seed in (1, 1, 2))
        assert np.array_equal(once, again)
        assert not np.array_equal(once, other)
        tokens, observed = table.masked(40, seed=8)
        given = tokens.int().numpy()
        full = sampler.complete(given, observed, np.random.default_rng(0))
        assert (full[observed] == given[observed]).all()
        assert len(table.codec.decode(full, np.random.default_rng(0))) == 40

    def test_student_rows_decode(self, table, student) -> None:  # type: ignore[no-untyped-def]
        sampler = StudentSampler(export_student(student), table.codec.layout)
        rows = table.codec.decode(sample_tokens(sampler, 100, 0), np.random.default_rng(0))
        assert tuple(rows.columns) == table.codec.schema.names
