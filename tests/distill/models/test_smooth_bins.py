"""Heads that learn slow waves over a number's bins sooner than fast ones."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from cascade_distill.export.graph import LARGE
from cascade_distill.learning.rows import prepare, smoothness_of
from cascade_distill.learning.teacher import fit_teacher, load_teacher
from cascade_distill.models.smooth_bins import Smoothness, fold, smooth, smooth_student, waves
from cascade_distill.models.student import Student, StudentConfig, random_suffix
from cascade_distill.models.teacher import Denoiser, TeacherConfig
from cascade_distill.recipes import TeacherRecipe
from cascade_distill.runs.run import Run
from cascade_distill.training.loop import TrainConfig
from cascade_tables import Codec, Frame, infer_schema
from cascade_tables.codecs.columns.binned_codec import COARSE

SMALL = TeacherConfig(width=32, hidden=32, blocks=1, fine_width=8, dropout=0.0, input_dropout=0.0)
SMOOTH = Smoothness(bins=5, places=2)


def noisy_lines(rows: int, seed: int) -> Frame:
    """Two numbers, the second the first and as much noise, and how loud it is."""
    rng = np.random.default_rng([seed, 0x11E5])
    first, noise = rng.normal(size=(2, rows))
    return Frame.from_pandas(
        pd.DataFrame(
            {
                "first": first.tolist(),
                "second": (first + noise).tolist(),
                "loud": np.where(np.abs(noise) > 1, "yes", "no").tolist(),
            }
        )
    )


@pytest.fixture
def model() -> Denoiser:
    frame = noisy_lines(2_000, seed=1)
    torch.manual_seed(1)
    return Denoiser(Codec.fit(infer_schema(frame), frame).layout, SMALL)


def masked(model: Denoiser) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    sizes = torch.tensor(model.layout.sizes)
    tokens = (torch.rand(50, len(sizes), generator=generator) * sizes).long()
    columns = torch.rand(50, max(model.layout.column) + 1, generator=generator) < 0.5
    return tokens, columns[:, list(model.layout.column)]


def rows_of(model: Denoiser, slot: int) -> slice:
    """Of the head, those of one slot's tokens."""
    before = sum(model.layout.sizes[each] for each in model.slots if each < slot)
    return slice(before, before + model.layout.sizes[slot])


class TestWaves:
    def test_they_are_orthogonal(self) -> None:
        whole = waves(16, 4.0).double()
        gram = whole.T @ whole
        # Of float32 entries.
        assert torch.allclose(gram, torch.diag(gram.diagonal()), atol=1e-5)

    def test_the_first_is_the_same_for_all_ranks_and_others_are_scaled(self) -> None:
        whole = waves(64, 8.0)
        assert torch.equal(whole[:, 0], torch.ones(64))
        # Half of them go up and down so often that the cosine's mean square is a half.
        scale = (2 * whole.square().mean(dim=0)).sqrt()
        assert scale[8].item() == pytest.approx(1 / 2, rel=1e-5)
        assert scale[16].item() == pytest.approx(1 / 17, rel=1e-5)


def roughness(weight: torch.Tensor) -> float:
    """How much neighbouring ranks, along the first axis, differ by, beside how much all do."""
    return float(weight.diff(dim=0).square().mean() / weight.var(dim=0).mean())


class TestSmooth:
    def test_nothing_that_is_said_changes(self, model: Denoiser) -> None:
        tokens, observed = masked(model)
        before = model.log_prob(tokens, observed)
        smooth(model, SMOOTH)
        # What 64 products of float32 numbers add up to, solved for and back.
        assert torch.allclose(model.log_prob(tokens, observed), before, atol=1e-3)

    def test_a_step_of_training_changes_neighbouring_bins_alike(self, model: Denoiser) -> None:
        smooth(model, SMOOTH)
        before = model.head.weight.detach().clone(), model.fine_out.detach().clone()
        generator = torch.Generator().manual_seed(5)
        targets = [torch.randn(each.shape, generator=generator) for each in before]
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        # As rough a wish as there is: each weight of its own.
        loss = sum(
            (weight * target).sum()
            for weight, target in zip((model.head.weight, model.fine_out), targets, strict=True)
        )
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        optimizer.step()
        (category,) = set(model.slots) - set(model.coarse)
        moved = model.head.weight.detach() - before[0]
        for slot in model.coarse:
            # This table has neither NULL nor marks: all tokens are bins. Weights that each go their
            # own way differ by twice their variance.
            assert len(moved[rows_of(model, slot)]) == COARSE
            assert roughness(moved[rows_of(model, slot)]) < 0.2
        assert roughness(moved[rows_of(model, category)]) > 1
        assert roughness((model.fine_out.detach() - before[1])[0].T) < 0.5

    def test_fast_features_of_a_number_are_weighed_slowly(self, model: Denoiser) -> None:
        smooth(model, SMOOTH)
        before = model.from_features.weight.detach().clone()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        # Each feature is wished for alike.
        model.from_features.weight.sum().backward()
        optimizer.step()
        moved = (model.from_features.weight.detach() - before).abs().mean(dim=0)
        # The rank, sines and cosines of 1, 2, 4, 8, 16 and 32 half-waves, and that there is a rank.
        waves_of = torch.tensor([0, *(2 * [1, 2, 4, 8, 16, 32]), 0])
        expected = 0.01 / (1 + (waves_of / SMOOTH.told) ** 4)
        assert torch.allclose(moved, expected.repeat(len(model.numeric)), rtol=1e-3)

    def test_the_bin_that_places_are_told_is_learnt_as_waves(self, model: Denoiser) -> None:
        smooth(model, SMOOTH)
        before = model.fine_coarse.detach().clone()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        wish = torch.randn(before.shape, generator=torch.Generator().manual_seed(7))
        (model.fine_coarse * wish).sum().backward()
        optimizer.step()
        for moved in model.fine_coarse.detach() - before:
            assert roughness(moved) < 0.2

    def test_heads_alone(self, model: Denoiser) -> None:
        smooth(model, Smoothness(told=math.inf))
        names = set(model.state_dict())
        assert {"from_features.weight", "fine_coarse"} <= names
        assert names.isdisjoint({"head.weight", "fine_out"})

    def test_a_table_without_bins_is_left_alone(self) -> None:
        frame = Frame.from_pandas(pd.DataFrame({"colour": ["red", "blue"] * 200}))
        model = Denoiser(Codec.fit(infer_schema(frame), frame).layout, SMALL)
        names = set(model.state_dict())
        smooth(model, SMOOTH)
        fold(model)
        assert set(model.state_dict()) == names


class TestSmoothStudent:
    @pytest.fixture
    def student(self) -> Student:
        frame = noisy_lines(2_000, seed=1)
        torch.manual_seed(1)
        return Student(Codec.fit(infer_schema(frame), frame).layout, StudentConfig(16, 16))

    def said(self, student: Student) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(3)
        sizes = torch.tensor(student.layout.sizes)
        tokens = (torch.rand(50, len(sizes), generator=generator) * sizes).long()
        return student.logits(tokens, random_suffix(50, student.layout, student.config, generator))

    def test_nothing_that_is_said_changes(self, student: Student) -> None:
        names, before = set(student.state_dict()), self.said(student)
        smooth_student(student, SMOOTH)
        for was, now in zip(before, self.said(student), strict=True):
            assert torch.allclose(was, now, atol=1e-3)
        fold(student)
        assert set(student.state_dict()) == names
        for was, now in zip(before, self.said(student), strict=True):
            assert torch.allclose(was, now, atol=1e-3)

    def test_a_step_of_training_changes_neighbouring_tokens_alike(self, student: Student) -> None:
        smooth_student(student, SMOOTH)
        before = [linear.weight.detach().clone() for linear in student.heads]
        generator = torch.Generator().manual_seed(5)
        optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
        loss = torch.zeros(())
        for linear in student.heads:
            loss = (
                loss + (linear.weight * torch.randn(linear.weight.shape, generator=generator)).sum()
            )
        loss.backward()
        optimizer.step()
        for role, linear, was in zip(student.layout.role, student.heads, before, strict=True):
            moved = roughness(linear.weight.detach() - was)
            assert moved > 1 if role == "value" else moved < 0.5

    def test_it_learns(self, student: Student) -> None:
        # Its gradients are made by hand, of weights that are made of others.
        smooth_student(student, SMOOTH)
        frame = noisy_lines(500, seed=4)
        codec = Codec.fit(infer_schema(frame), frame)
        rows = torch.from_numpy(codec.encode(frame).astype(np.int64))
        nothing = torch.zeros(len(rows), len(student.layout.sizes), dtype=torch.bool)
        optimizer = torch.optim.Adam(student.parameters(), lr=0.02)
        losses = []
        for _ in range(30):
            optimizer.zero_grad()
            loss = student.loss(rows, nothing)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0] - 1


class TestForRows:
    def test_more_rows_have_finer_shapes(self) -> None:
        assert Smoothness().for_rows(32_000) == Smoothness(bins=16, places=4, told=16)

    @pytest.mark.parametrize("rows", [200, 8_000])
    def test_the_defaults_are_those_of_few(self, rows: int) -> None:
        assert Smoothness().for_rows(rows) == Smoothness()


class TestFold:
    def test_nothing_that_is_said_changes(self, model: Denoiser) -> None:
        smooth(model, SMOOTH)
        tokens, observed = masked(model)
        before = model.log_prob(tokens, observed)
        fold(model)
        assert torch.equal(model.log_prob(tokens, observed), before)

    def test_what_is_left_is_a_plain_network(self, model: Denoiser) -> None:
        names = set(model.state_dict())
        smooth(model, SMOOTH)
        assert set(model.state_dict()) != names
        fold(model)
        assert set(model.state_dict()) == names


class TestRuns:
    RECIPE = TeacherRecipe(
        SMALL, TrainConfig(steps=400, batch_rows=256, learning_rate=0.01, evaluate_every=20)
    )

    def run(self, folder: Path) -> Run:
        run, frame = Run(folder), noisy_lines(800, seed=2)
        prepare(run, infer_schema(frame), frame, source="lines")
        return run

    def test_few_rows_are_learnt_better(self, tmp_path: Path) -> None:
        losses = []
        for smoothness in (asdict(Smoothness()), None):
            run = self.run(tmp_path / str(smoothness is None))
            run.update(smoothness=smoothness)
            outcome = fit_teacher(run, self.RECIPE)
            assert outcome.best is not None
            losses.append(outcome.best.loss)
        assert losses[0] < losses[1]

    def test_new_runs_are_smooth_and_what_is_kept_is_plain(self, tmp_path: Path) -> None:
        run = self.run(tmp_path / "run")
        assert smoothness_of(run) == Smoothness()
        fit_teacher(run, TeacherRecipe(SMALL, TrainConfig(steps=3, batch_rows=32)))
        assert "head.weight" in load_teacher(run).state_dict()

    def test_the_graph_of_a_trained_teacher_is_stored_in_half_precision(
        self, tmp_path: Path
    ) -> None:
        # Half as many bytes to release, to send and to keep.
        run = self.run(tmp_path / "run")
        fit_teacher(run, TeacherRecipe(SMALL, TrainConfig(steps=30, batch_rows=64)))
        graph = onnx.load(run.path("teacher.onnx")).graph
        large = {
            each.name: each.data_type for each in graph.initializer if math.prod(each.dims) >= LARGE
        }
        assert onnx.TensorProto.FLOAT16 in large.values()
        assert onnx.TensorProto.FLOAT not in large.values(), large

    def test_a_run_that_began_with_heads_alone_goes_on_so(self, tmp_path: Path) -> None:
        run = self.run(tmp_path / "run")
        run.update(smoothness={"bins": 8.0, "places": 2.0})
        assert smoothness_of(run) == Smoothness(told=math.inf)

    def test_a_run_that_began_without_goes_on_without(self, tmp_path: Path) -> None:
        run = self.run(tmp_path / "run")
        entries = run.read_json("run.json")
        del entries["smoothness"]
        run.write_json("run.json", entries)
        recipe = TeacherRecipe(SMALL, TrainConfig(steps=3, batch_rows=32))
        fit_teacher(run, recipe)
        before = run.path("teacher.onnx").read_bytes()
        frame = noisy_lines(800, seed=2)
        prepare(run, infer_schema(frame), frame, source="lines")
        assert smoothness_of(run) is None
        fit_teacher(run, recipe)
        assert run.path("teacher.onnx").read_bytes() == before
