"""What a graph's file holds, and what a session makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from cascade_distill.export.graph import FLOAT, Graph
from cascade_distill.export.student_graph import export_student
from cascade_distill.export.teacher_graph import export_teacher
from cascade_distill.models.features import feature_table
from cascade_distill.models.neighbours import chosen_neighbours, neighbours_of
from cascade_distill.models.student import Student, StudentConfig
from cascade_distill.models.teacher import Denoiser, TeacherConfig
from cascade_distill.training.loop import round_weights
from cascade_tables.releases.weights import model_weights
from torch import nn


def added(g: Graph, table: str, rows: int, columns: int) -> bytes:
    """A graph that adds a table [rows, columns] to what it is given."""
    g.op("Add", "x", table, out="y")
    return g.model([("x", FLOAT, columns)], [("y", FLOAT, columns)])


def made(model: bytes, rows: int, columns: int) -> np.ndarray:
    """That table, as a session makes it."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.zeros((rows, columns), np.float32)})[0]


class TestWeights:
    """Arrays are as they were, and take no more room than they must."""

    @pytest.mark.parametrize("shape", [(40, 50), (1, 1024), (2000, 1)])
    def test_one_that_is_nearly_all_zeros(self, shape: tuple[int, int]) -> None:
        value = np.zeros(shape, np.float32)
        value.flat[::97] = np.arange(1, len(value.flat[::97]) + 1) / 7
        g = Graph("sparse")
        model = added(g, g.weight("few", value), *shape)
        assert np.array_equal(made(model, *shape), value)
        assert len(model) < value.nbytes / 2
        # Who reads the file without a session has it whole as well.
        assert np.array_equal(model_weights(model)["few_1"], value)

    def test_one_that_is_all_zeros(self) -> None:
        g = Graph("nothing")
        model = added(g, g.weight("few", np.zeros((64, 64), np.float32)), 64, 64)
        assert not made(model, 64, 64).any()
        assert not model_weights(model)["few_1"].any()
        assert len(model) < 500

    @pytest.mark.parametrize("divisor", [8, 7])
    def test_halves_only_where_they_are_exact(self, divisor: int) -> None:
        value = np.arange(1, 1601, dtype=np.float32).reshape(40, 40) / divisor
        g = Graph("halves")
        model = added(g, g.weight("many", value), 40, 40)
        assert np.array_equal(made(model, 40, 40), value)
        assert (len(model) < 0.6 * value.nbytes) == (divisor == 8)

    @pytest.mark.parametrize("largest", [2**15 - 1, 2**15, 2**31 - 1, 2**31])
    def test_whole_numbers_take_as_many_bytes_as_they_need(self, largest: int) -> None:
        value = np.arange(-500, 500)
        value[7] = largest
        g = Graph("whole")
        kept = g.op("Cast", g.weight("numbers", value[None]), to=FLOAT)
        model = added(g, kept, 1, 1000)
        assert np.array_equal(made(model, 1, 1000)[0], value.astype(np.float32))
        bytes_each = 2 if largest < 2**15 else 4 if largest < 2**31 else 8
        assert 0 < len(model) - 1000 * bytes_each < 500

    @pytest.mark.parametrize("length", [1, 8, 4000, 4001])
    def test_blocks_that_repeat(self, length: int) -> None:
        rng = np.random.default_rng(0)
        some = rng.random((5, 8), np.float32)
        some[2] = np.nan
        value = some[rng.integers(0, 5, 501)].reshape(-1)[:length]
        g = Graph("blocks")
        table = g.blocks("some", value)
        model = added(g, table, 1, -(-length // 8) * 8)
        out = made(model, 1, -(-length // 8) * 8)[0]
        assert np.array_equal(out[:length], value, equal_nan=True)
        assert np.array_equal(model_weights(model)[table][:length], value, equal_nan=True)
        assert length < 4000 or len(model) < value.nbytes / 5


def learnt(model: nn.Module) -> int:
    """Bytes of what was learnt, in half precision."""
    return 2 * sum(parameter.numel() for parameter in model.parameters())


class TestNetworks:
    """A network's file is little more than what was learnt; a row pays for nothing of that."""

    @pytest.fixture(params=["teacher", "student"])
    def network(self, request, credit):  # type: ignore[no-untyped-def]
        layout = credit.codec.layout
        torch.manual_seed(0)
        if request.param == "student":
            model = Student(layout, StudentConfig())
            round_weights(model)
            return model, export_student(model)
        targets = neighbours_of(
            credit.codec, chosen_neighbours(credit.codec, credit.tokens.numpy())
        )
        model = Denoiser(layout, TeacherConfig(), targets)
        round_weights(model)
        return model, export_teacher(model)

    def test_the_file_is_little_more_than_what_was_learnt(self, network) -> None:  # type: ignore[no-untyped-def]
        model, graph = network
        assert len(graph) < 1.1 * learnt(model)

    def test_no_node_is_left_that_depends_on_weights_alone(self, network, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        ort.InferenceSession(network[1], options, providers=["CPUExecutionProvider"])
        graph = onnx.load(tmp_path / "optimised.onnx").graph
        weights = {each.name for each in graph.initializer}
        assert len(graph.node) > 10
        assert not [node.name for node in graph.node if weights.issuperset(node.input)]


def test_features_are_made_as_they_were_learnt_with(credit) -> None:  # type: ignore[no-untyped-def]
    """Every entry of every numeric slot's table, marks and NULL among them."""
    from cascade_distill.export.features_graph import features_of
    from cascade_distill.models.features import WIDTH, numeric_slots

    layout = credit.codec.layout
    slots = numeric_slots(layout)
    g = Graph("features")
    table, starts, none = features_of(g, layout, slots)
    out = made(added(g, table, none + 1, WIDTH), none + 1, WIDTH)
    for slot in slots:
        expected = feature_table(layout, slot)
        assert np.array_equal(out[starts[slot] : starts[slot] + len(expected)], expected)
    assert not out[none].any()
