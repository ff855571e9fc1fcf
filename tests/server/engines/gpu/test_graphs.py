"""Graphs rewritten for GPUs draw what the released ones draw, by ONNX Runtime on the CPU."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from cascade_server.engines.gpu import graphs
from cascade_tables import load_release
from cascade_tables.sampling import TeacherRows, reveal_passes

from tests.server.engines.gpu.conftest import Asked, Both, asked

CREDIT = "model_repository"


def session(model: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def kinds(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


class TestFolded:
    """What depends on weights alone is a weight."""

    @pytest.mark.parametrize("tier", ["student", "teacher"])
    def test_nothing_is_left_to_compute_of_weights_and_rows_are_the_same(
        self, both: Both, tier: str
    ) -> None:
        model = getattr(both.release, tier)
        proto = graphs.folded(model)
        weights = {each.name for each in proto.graph.initializer}
        assert not [n.name for n in proto.graph.node if weights.issuperset(n.input)]
        # The release's own has some, so that there was something to do.
        before = onnx.load_from_string(model).graph
        stored = {each.name for each in before.initializer}
        assert [n for n in before.node if stored.issuperset(n.input)]
        rows = asked(both.cpu, 50)
        width = proto.graph.input[2].type.tensor_type.shape.dim[1].dim_value
        noise = np.random.default_rng(1).random((50, width), dtype=np.float32)
        feed = {"tokens": rows.tokens, "observed": rows.observed, "noise": noise}
        one, other = (session(m).run(None, feed) for m in (model, proto.SerializeToString()))
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

    def test_a_graph_with_nothing_to_compute_is_as_it_was(self, both: Both) -> None:
        once = graphs.folded(both.release.student).SerializeToString()
        assert graphs.folded(once).SerializeToString() == once


class TestStraight:
    """The student without Ifs."""

    def test_equal_noise_gives_equal_tokens(self, both: Both) -> None:
        rows = asked(both.cpu, 300)
        noise = np.random.default_rng(1).random((300, both.cpu.student_noise), dtype=np.float32)
        model = graphs.straight(both.release.student)
        feed = {"tokens": rows.tokens, "observed": rows.observed, "noise": noise}
        drawn = session(model).run(None, feed)[0]
        assert np.array_equal(drawn, both.cpu.draw_student(rows.tokens, rows.observed, noise))

    def test_there_is_no_branch_left_and_the_noise_is_made_once(self, both: Both) -> None:
        found = kinds(graphs.straight(both.release.student))
        assert "If" in kinds(both.release.student)
        assert "If" not in found
        assert found.count("Log") == 2

    def test_a_bundled_release_whose_groups_are_larger(self) -> None:
        """`credit` has three slots a group and more outputs than one CUDA Concat may join."""
        from pathlib import Path

        release = load_release(Path(CREDIT), "credit", 1)
        layout = release.codec.layout
        rng = np.random.default_rng(0)
        tokens = rng.integers(0, layout.sizes, (64, len(layout.sizes))).astype(np.int32)
        known = rng.random((64, max(layout.column) + 1)) < 0.5
        noise = rng.random((64, sum(layout.sizes) + len(layout.sizes)), dtype=np.float32)
        feed = {"tokens": tokens, "observed": known[:, list(layout.column)], "noise": noise}
        model = graphs.straight(release.student)
        drawn = [session(m).run(None, feed)[0] for m in (release.student, model)]
        assert np.array_equal(*drawn)
        for each in (model, graphs.teacher_pass(release.teacher)):
            nodes = onnx.load_from_string(each).graph.node
            joined = [len(node.input) for node in nodes if node.op_type == "Concat"]
            assert max(joined) <= graphs.MOST_JOINED


class TestTeacherPass:
    """A pass from what it is given to what the next one is."""

    def test_passes_in_a_row_make_the_teachers_rows(self, both: Both) -> None:
        rows, runtime = asked(both.cpu, 100), both.cpu
        noise = np.random.default_rng(2).random((100, runtime.teacher_noise), dtype=np.float32)
        expected = completed(both, rows, noise)
        order, uniform = np.split(noise, [runtime.columns], axis=1)
        at = reveal_passes(
            rows.observed, order, runtime.layout.column, runtime.layout.leading, runtime.steps
        )
        run = session(graphs.teacher_pass(both.release.teacher)).run
        tokens, step = np.where(rows.observed, rows.tokens, 0), np.zeros(1, np.int32)
        for _ in range(at.max() + 1):
            feed = {"tokens": tokens, "at": at.astype(np.int32), "step": step}
            tokens, step = run(None, {**feed, "noise": np.ascontiguousarray(uniform)})
        assert step.tolist() == [at.max() + 1]
        assert np.array_equal(tokens, expected)

    def test_scores_are_left_out(self, both: Both) -> None:
        assert "LogSoftmax" in kinds(both.release.teacher)
        assert "LogSoftmax" not in kinds(graphs.teacher_pass(both.release.teacher))


class TestPrecision:
    """Large products in half precision; everything else as it was."""

    @pytest.mark.parametrize(("precision", "kind"), [("fp16", 10), ("bf16", 16)])
    def test_only_products_are_rounded(self, precision: str, kind: int, both: Both) -> None:
        model = graphs.teacher_pass(both.release.teacher)
        found = onnx.load_from_string(graphs.with_precision(model, precision)).graph
        halves = {
            n.output[0] for n in found.node for a in n.attribute if a.name == "to" and a.i == kind
        }
        users = {n.op_type for n in found.node if halves.intersection(n.input)}
        assert users == {"MatMul"}

    def test_fp16_draws_nearly_the_same(self, both: Both) -> None:
        rows = asked(both.cpu, 300)
        noise = np.random.default_rng(1).random((300, both.cpu.student_noise), dtype=np.float32)
        model = graphs.with_precision(graphs.straight(both.release.student), "fp16")
        feed = {"tokens": rows.tokens, "observed": rows.observed, "noise": noise}
        drawn = session(model).run(None, feed)[0]
        expected = both.cpu.draw_student(rows.tokens, rows.observed, noise)
        # Logits differ by 2^-11 of their size, and so do the odds of another token.
        assert (drawn == expected).all(axis=1).mean() > 0.95

    def test_fp32_is_the_graph_itself(self, both: Both) -> None:
        assert graphs.with_precision(both.release.student, "fp32") == both.release.student

    def test_another_is_refused(self, both: Both) -> None:
        with pytest.raises(ValueError, match="precision is 'int8'; allowed: fp32, fp16, bf16"):
            graphs.with_precision(both.release.student, "int8")


def completed(both: Both, rows: Asked, noise: np.ndarray) -> np.ndarray:
    """The teacher's rows, pass by pass, by the embedded runtime."""
    runtime = both.cpu
    underway = TeacherRows(rows.tokens, rows.observed, noise, runtime.layout, runtime.steps)
    while not underway.done:
        underway.keep(runtime.denoise(*underway.next_pass()))
    return underway.tokens
